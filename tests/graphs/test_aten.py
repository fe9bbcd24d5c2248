import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from bnconvert.errors import Refusal
from bnconvert.graphs.aten import (
    argument,
    aten,
    batch_norm_obstacle,
    called_in,
    comes_from_constant,
    consumers_of,
    describe,
    inserted_before,
    names_of,
    norm_calls,
    normalize_batch_norms,
    standardizes_weight,
)
from tests.excerpts import Excerpts, Sketch, model
from tests.submodules import submodule
from tests.zoo import BY_NAME, Net, build, trained


class Borrowing(Net):
    """A net that calls its norm's tensors through F.batch_norm."""

    def forward(self, x: Tensor) -> Tensor:
        n = submodule(self, "norm", nn.BatchNorm2d)
        return F.batch_norm(self.conv(x), n.running_mean, n.running_var, n.weight, n.bias)


class InTraining(nn.Module):
    """A norm that is in training mode in an eval model."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def train(self, mode: bool = True) -> "InTraining":
        super().train(mode)
        self.norm.train()
        return self

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x)
        return y


def zoo(name: str) -> Sketch:
    return model(lambda: build(name)[0], *(tuple(x.shape) for x in BY_NAME[name].inputs))


ONE_NORM = ("plain", "sync", "frozen_elsewhere", "functional", "series", "root_is_norm")
EXCERPTS = Excerpts(
    {
        **{name: zoo(name) for name in (*ONE_NORM, "norm_called_twice")},
        "output_read_elsewhere": zoo("output_read_elsewhere"),
        "borrowing": model(lambda: trained(Borrowing()), (2, 3, 8, 8)),
    }
)
DECOMPOSED = Excerpts(
    {
        "without_statistics": zoo("without_statistics"),
        "standardized_conv": zoo("standardized_conv"),
        "in_training": model(InTraining, (2, 3, 8, 8)),
    }
)


def nodes(module: fx.GraphModule, target: Callable[..., Any]) -> list[fx.Node]:
    return list(module.graph.find_nodes(op="call_function", target=target))


@pytest.mark.parametrize("name", ONE_NORM)
def test_every_eval_norm_is_one_operator(name: str) -> None:
    module = EXCERPTS[name]
    assert len(nodes(module, aten.batch_norm.default)) == 1
    (call,) = norm_calls(module)
    assert call.node.target is aten.batch_norm.default
    assert call.channels == call.node.meta["val"].shape[1]


def test_a_norm_whose_other_results_are_read_by_nobody_is_normalized() -> None:
    graph = fx.Graph()
    x, *tensors = (graph.placeholder(name) for name in ("x", "weight", "bias", "mean", "var"))
    evaluated = aten._native_batch_norm_legit_no_training.default
    norm = graph.call_function(evaluated, (x, *tensors, 0.1, 1e-3))
    norm.meta["val"] = (torch.ones(2, 3), None, None)
    graph.output(graph.call_function(operator.getitem, (norm, 0)))
    module = fx.GraphModule(nn.Module(), graph)
    inputs = torch.randn(2, 3), *(torch.rand(3) for _ in range(4))
    before = module(*inputs)
    normalize_batch_norms(module)
    (call,) = nodes(module, aten.batch_norm.default)
    assert argument(call, "eps") == 1e-3
    assert isinstance(call.meta["val"], Tensor)
    torch.testing.assert_close(module(*inputs), before)


def test_calls_of_one_norm_are_numbered() -> None:
    calls = norm_calls(EXCERPTS["norm_called_twice"])
    assert [(call.owner, call.number) for call in calls] == [("norm", 1), ("norm", 2)]
    assert [call.obstacle for call in calls] == [None, None]


def test_the_owner_is_known_by_the_statistics_and_the_caller_by_the_call() -> None:
    (call,) = norm_calls(EXCERPTS["borrowing"])
    assert (call.owner, call.caller) == ("norm", "")
    (call,) = norm_calls(EXCERPTS["plain"])
    assert (call.owner, call.caller) == ("norm", "norm")


def test_batch_statistics_are_an_obstacle_with_a_reason() -> None:
    (call,) = norm_calls(DECOMPOSED["without_statistics"])
    assert str(call.obstacle) == "it has no running statistics: it normalizes by the batch's own"
    (call,) = norm_calls(DECOMPOSED["in_training"])
    assert call.owner == "norm"
    assert call.obstacle == Refusal(
        "training-mode", "it is in training mode: it normalizes by the batch's own statistics"
    )
    (call,) = norm_calls(EXCERPTS["plain"])
    assert batch_norm_obstacle(call.node) is None


def test_standardizing_a_weight_is_no_norm() -> None:
    module = DECOMPOSED["standardized_conv"]
    assert [call.owner for call in norm_calls(module)] == ["norm"]
    (standardizing,) = [node for node in module.graph.nodes if standardizes_weight(node)]
    assert comes_from_constant(standardizing)


def test_what_is_computed_from_an_input_comes_from_no_constant() -> None:
    (norm,) = nodes(EXCERPTS["plain"], aten.batch_norm.default)
    assert not comes_from_constant(norm)


def test_arguments_are_read_by_name_with_their_defaults() -> None:
    (conv, _) = nodes(EXCERPTS["plain"], aten.conv2d.default)
    assert argument(conv, "padding") == [1, 1]
    assert argument(conv, "groups") == 1
    assert argument(conv, "bias") is None
    with pytest.raises(KeyError, match="has no argument colour"):
        argument(conv, "colour")


def test_who_reads_a_shape_only_is_no_reader() -> None:
    module = EXCERPTS["plain"]
    (norm,) = nodes(module, aten.batch_norm.default)
    readers = consumers_of(norm)
    with module.graph.inserting_after(norm):
        module.graph.call_function(aten.sym_size.int, (norm, 0))
    assert consumers_of(norm) == readers
    assert len(norm.users) == len(readers) + 1


def test_operators_are_named_by_what_they_do_and_who_calls_them() -> None:
    module = EXCERPTS["output_read_elsewhere"]
    (conv,) = nodes(module, aten.conv2d.default)
    (add,) = nodes(module, aten.add.Tensor)
    (x,) = module.graph.find_nodes(op="placeholder")
    assert called_in(conv) == "conv"
    assert called_in(add) == ""
    assert describe(conv) == "conv (conv2d)"
    assert describe(add) == "add"
    assert describe(x) == f"the model's input {x.name}"
    assert describe(module.graph.output_node()) == "the model's output"


def test_of_many_operators_three_are_named_and_none_twice() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    targets = (aten.sin, aten.cos, aten.tan, aten.exp, aten.sin)
    made = [graph.call_function(target.default, (x,)) for target in targets]
    assert names_of({made[0], made[4]}) == "sin"
    assert names_of(set(made[:3])) == "cos, sin, tan"
    assert names_of(set(made)) == "cos, exp, sin and 1 more"


def test_a_call_before_a_node_has_its_notes_and_an_example_of_its_own() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    node = graph.call_function(aten.relu.default, (x,))
    graph.output(node)
    node.meta = {"val": torch.ones(2), "stack_trace": "forward"}
    value = torch.ones(3)
    part = inserted_before(node, aten.add.Tensor, (x, x), value, {"alpha": 2})
    assert [n.name for n in graph.nodes if n.op == "call_function"] == [part.name, node.name]
    assert (part.target, part.args, part.kwargs) == (aten.add.Tensor, (x, x), {"alpha": 2})
    assert part.meta["val"] is value
    assert part.meta["stack_trace"] == "forward"
    assert torch.equal(node.meta["val"], torch.ones(2)), "its own is as it was"
