"""From the values of a file to the operator that is wrong."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, fx
from torch.nn import functional as F

from bnconvert.verification.files.onnx_graph import OnnxGraph, Operator
from bnconvert.verification.values.divergence import Divergence, DivergenceSearch
from bnconvert.verification.values.value_matching import FileValues, match_values
from tests.excerpts import Applied, capture_of
from tests.verification.values.rows import EXAMPLE, INPUTS, go_on

KINDS = ("Conv", "BatchNormalization", "Relu", "Conv")


def file_of(
    values: dict[str, Tensor], kinds: tuple[str, ...] = KINDS, broken: int | None = None
) -> OnnxGraph:
    """A file whose operators stand in a row, each reading the value before its own."""
    names = ["x", *values]
    operators = tuple(
        Operator(place, f"node{place}", kind, (names[place],), (names[place + 1],), ())
        for place, kind in enumerate(kinds)
    )
    reasons = {} if broken is None else {operators[broken]: "its kernel fails"}
    held = {name: value for name, value in values.items() if value.numel()}
    return OnnxGraph(operators, held, (names[-1],), reasons)


def divergence(graph: fx.GraphModule, file: OnnxGraph) -> Divergence | None:
    return DivergenceSearch(
        file, [match_values(graph, EXAMPLE, FileValues(file.values))]
    ).divergence()


def test_in_a_file_that_is_right_nothing_parts(
    graph: fx.GraphModule, values: dict[str, Tensor]
) -> None:
    assert divergence(graph, file_of(values)) is None


def test_what_folding_moved_is_right(graph: fx.GraphModule, values: dict[str, Tensor]) -> None:
    del values["v0"]
    assert divergence(graph, file_of(values, ("Conv", "Relu", "Conv"))) is None


@pytest.mark.parametrize("wrong", [1.001, 1.5, -1.0, float("nan")])
def test_the_culprit_has_right_inputs_and_a_wrong_value(
    graph: fx.GraphModule, values: dict[str, Tensor], wrong: float
) -> None:
    go_on(graph, values, values["v1"] * wrong)
    found = divergence(graph, file_of(values))
    assert found is not None
    assert [operator.name for operator in found.operators] == ["node1"]
    assert found.expected is not None
    assert str(found.expected.node) == "batch_norm"
    assert found.others == 0


def test_the_first_of_several_is_named(graph: fx.GraphModule, values: dict[str, Tensor]) -> None:
    go_on(graph, values, values["v1"] * 1.01)
    values["v3"] = values["v3"] + 0.1
    found = divergence(graph, file_of(values))
    assert found is not None
    assert [operator.name for operator in found.operators] == ["node1"]


def test_a_convolution_that_a_norm_was_folded_into_wrongly_is_named(
    graph: fx.GraphModule, values: dict[str, Tensor]
) -> None:
    go_on(graph, values, values["v1"] + 0.01)
    del values["v0"]
    found = divergence(graph, file_of(values, ("Conv", "Relu", "Conv")))
    assert found is not None
    assert [operator.name for operator in found.operators] == ["node0"]


def test_an_operator_that_does_not_run_is_named(
    graph: fx.GraphModule, values: dict[str, Tensor]
) -> None:
    missing = dict.fromkeys(("v2", "v3"), torch.empty(0))
    found = divergence(graph, file_of(values | missing, broken=2))
    assert found is not None
    assert found.operators[0].name == "node2"


def test_one_that_passes_its_input_on_is_wrong_where_something_should_be_computed(
    graph: fx.GraphModule, values: dict[str, Tensor]
) -> None:
    weight, bias = graph.get_parameter("last.weight"), graph.get_parameter("last.bias")
    values["v2"] = values["v1"].clone()  # a Relu that does nothing
    values["v3"] = torch.nn.functional.conv2d(values["v2"], weight, bias)
    found = divergence(graph, file_of(values))
    assert found is not None
    assert [operator.name for operator in found.operators] == ["node2"]


def test_of_two_operators_that_compute_one_value_neither_is_to_blame_for_what_follows(
    graph: fx.GraphModule, values: dict[str, Tensor]
) -> None:
    go_on(graph, values, values["v1"] * 1.5)
    file = file_of(values)
    twin = Operator(len(KINDS), "twin", "Conv", ("x",), ("again",), ())
    twice = OnnxGraph(
        (*file.operators, twin), values | {"again": values["v0"]}, (*file.outputs, "again"), {}
    )
    found = divergence(graph, twice)
    assert found is not None
    assert [operator.name for operator in found.operators] == ["node1"]


def test_who_reads_what_the_model_does_is_suspected_before_an_earlier_one_of_its_kind(
    graph: fx.GraphModule, values: dict[str, Tensor]
) -> None:
    values["v3"] = values["v3"] * 1.5
    file, more = file_of(values), torch.randn_like(values["v3"])
    other = Operator(-1, "other", "Conv", ("x",), ("more",), ())
    wider = OnnxGraph(
        (other, *file.operators), values | {"more": more}, (*file.outputs, "more"), {}
    )
    assert blamed(divergence(graph, wider)) == ["node3"]


def blamed(found: Divergence | None) -> list[str]:
    assert found is not None
    return [operator.name for operator in found.operators]


#: An operator of a file: its kind, what it reads and what it outputs.
Step = tuple[str, str, str]


def blamed_in(
    function: Callable[[Tensor], Any], steps: Sequence[Step], *values: Tensor
) -> list[str]:
    """Return the outputs of the operators that are blamed in a file with these values."""
    graph = capture_of(Applied(lambda _, x: function(x)), INPUTS).module
    operators = [
        Operator(place, output, kind, (source,), (output,), ())
        for place, (kind, source, output) in enumerate(steps)
    ]
    read = {source for _, source, _ in steps}
    held = {o.name: value for o, value in zip(operators, values, strict=True)}
    ends = tuple(o.name for o in operators if o.name not in read)
    return blamed(divergence(graph, OnnxGraph(tuple(operators), held, ends, {})))


T = torch.tanh(INPUTS[0])
RECTIFIED, SWISH = F.leaky_relu(T), F.hardswish(T)


def branches(x: Tensor) -> tuple[Tensor, Tensor]:
    t = torch.tanh(x)
    return F.leaky_relu(t), F.hardswish(t)


def test_one_that_passes_its_input_on_is_wrong_whatever_else_is_missing() -> None:
    steps = [("Tanh", "x", "t"), ("LeakyRelu", "t", "a"), ("HardSwish", "t", "b")]
    assert blamed_in(branches, steps, T, T.clone(), SWISH * 1.5) == ["a"]


def test_one_of_the_models_kind_is_suspected_before_another_with_a_similar_value() -> None:
    steps = [("Tanh", "x", "t"), ("Mul", "t", "a"), ("LeakyRelu", "t", "b")]
    assert blamed_in(branches, steps, T, SWISH * 1.05, RECTIFIED * 2) == ["b"]


def test_several_operators_are_named_up_to_the_first_that_is_known_to_be_wrong() -> None:
    steps = [("Tanh", "x", "t"), ("Mul", "t", "a"), ("Add", "a", "b"), ("HardSwish", "b", "c")]
    found = blamed_in(
        lambda x: F.hardswish(torch.tanh(x)), steps, T, SWISH * -1, SWISH * -2, SWISH * 2
    )
    assert found == ["a", "b", "c"]
