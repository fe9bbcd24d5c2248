import operator

import pytest
import torch
from torch import Tensor, fx
from torch.nn import functional as F

from bnconvert.verification.values.operator_mapping import is_primitive, may_compute, operator_name
from tests.excerpts import Applied, capture_of


def called(function: object, *shape: int) -> list[fx.Node]:
    model = Applied(function)  # type: ignore[arg-type]
    module = capture_of(model, (torch.rand(shape or (2, 4, 6, 6)),)).module
    return [node for node in module.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize(
    ("function", "kinds", "strangers"),
    [
        (lambda m, x: F.relu(x), ("Relu",), ("Sigmoid", "Clip")),
        (lambda m, x: F.max_pool2d(x, 2), ("MaxPool",), ("AveragePool",)),
        (lambda m, x: F.adaptive_avg_pool2d(x, 1), ("GlobalAveragePool", "ReduceMean"), ("Conv",)),
        (lambda m, x: x.permute(0, 2, 3, 1), ("Transpose",), ("Reshape",)),
        (lambda m, x: F.hardtanh(x), ("Clip",), ("Relu",)),
        (lambda m, x: torch.cat([x, x], 1), ("Concat",), ("Add",)),
        (lambda m, x: x.flatten(1) + 1, ("Flatten", "Reshape"), ("Gather",)),
    ],
)
def test_an_operator_is_kin_to_what_it_becomes(
    function: object, kinds: tuple[str, ...], strangers: tuple[str, ...]
) -> None:
    node = called(function)[0]
    assert all(may_compute(kind, node) for kind in kinds)
    assert not any(may_compute(kind, node) for kind in strangers)


def test_a_transposed_convolution_is_no_convolution() -> None:
    """The longest beginning of the name counts."""
    graph = fx.Graph()
    node = graph.call_function(torch.ops.aten.conv_transpose2d.input, ())
    assert may_compute("ConvTranspose", node)
    assert not may_compute("Conv", node)


def test_arithmetic_is_one_operator_whatever_it_is_called() -> None:
    (node,) = called(lambda m, x: x * 2)
    assert is_primitive(node)
    (pool,) = called(lambda m, x: F.max_pool2d(x, 2))
    assert not is_primitive(pool)


def test_one_of_several_results_has_the_name_of_what_makes_them() -> None:
    def parts(m: object, x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        return first * second

    nodes = called(parts)
    items = [node for node in nodes if node.target is operator.getitem]
    makers = {operator_name(item) for item in items}
    assert makers <= {"chunk", "split"}
    assert all(may_compute("Split", item) for item in items)


def test_t_is_a_transposition() -> None:
    graph = fx.Graph()
    assert operator_name(graph.call_function(torch.ops.aten.t.default, ())) == "transpose"
    assert may_compute("Transpose", graph.call_function(torch.ops.aten.t.default, ()))
