from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from bnconvert.graphs.aten import aten
from bnconvert.graphs.canonical_forms import rewrite_maps_as_operators, rewrite_products_as_linear
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.channel_map import ChannelMap
from tests.excerpts import Applied, Excerpts, Sketch, function, model
from tests.zoo import trained

ROWS, SEQUENCES, IMAGE = (2, 4), (2, 5, 4), (2, 4, 3, 3)


def stored(applied: Callable[..., Any], *shape: int) -> Sketch:
    """Sketch a function of rows, of a stored matrix `m.w` and of a vector `m.b`."""
    return model(
        lambda: Applied(applied, w=nn.Parameter(torch.randn(4, 3)), b=nn.Parameter(torch.randn(3))),
        shape or ROWS,
    )


PRODUCTS = {
    "mm": stored(lambda m, x: torch.mm(x, m.w)),
    "matmul": stored(lambda m, x: x @ m.w),
    "batched": stored(lambda m, x: x @ m.w, *SEQUENCES),
    "addmm": stored(lambda m, x: torch.addmm(m.b, x, m.w)),
}
OTHERS = {
    "weighed": stored(lambda m, x: torch.addmm(m.b, x, m.w, alpha=2)),
    "half_bias": stored(lambda m, x: torch.addmm(m.b, x, m.w, beta=0.5)),
    "from_the_left": stored(lambda m, x: m.w.t() @ x.t()),
    "vector": stored(lambda m, x: aten.slice.Tensor(x, 1, 0, 3) @ m.b),
    "computed": function(lambda x: x @ x.t(), ROWS),
}
SLICES = {
    "whole": function(lambda x: aten.slice.Tensor(x, 1, 0, 2**63 - 1), ROWS),
    "default": function(lambda x: aten.slice.Tensor(x, 1), ROWS),
    "part": function(lambda x: aten.slice.Tensor(x, 1, 1, 2**63 - 1), ROWS),
    "steps": function(lambda x: aten.slice.Tensor(x, 1, None, None, 2), ROWS),
}
NORM = model(lambda: trained(nn.Sequential(nn.BatchNorm2d(4))), IMAGE)
EXCERPTS = Excerpts({**PRODUCTS, **OTHERS, **SLICES, "norm": NORM})


def operators(graph: MutableGraph) -> list[str]:
    nodes = [node for node in graph.fx_graph.nodes if node.op == "call_function"]
    return [str(node.target).removeprefix("aten.").partition(".")[0] for node in nodes]


def raised(name: str) -> tuple[MutableGraph, Tensor, Tensor]:
    """Raise an excerpt; return it with what it computed before and what it computes now."""
    module = EXCERPTS[name]
    x = torch.randn(EXCERPTS.sketches[name].shapes[0]).double()
    graph = MutableGraph(module)
    with torch.no_grad():
        before = module(x)
        rewrite_products_as_linear(graph)
        graph.commit()
        return graph, before, module(x)


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_with_a_stored_matrix_is_a_linear_layer(name: str) -> None:
    graph, before, after = raised(name)
    assert "linear" in operators(graph)
    assert not {"mm", "matmul", "addmm"} & set(operators(graph))
    torch.testing.assert_close(after, before, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", OTHERS)
def test_any_other_product_stays_what_it_is(name: str) -> None:
    graph, before, after = raised(name)
    assert "linear" not in operators(graph)
    assert torch.equal(after, before)


@pytest.mark.parametrize(
    ("name", "left"), [("whole", 0), ("default", 0), ("part", 1), ("steps", 1)]
)
def test_a_slice_that_is_the_whole_is_taken_out(name: str, left: int) -> None:
    graph, before, after = raised(name)
    assert operators(graph).count("slice") == left
    assert torch.equal(after, before)


def lowered(change: ChannelMap, *, is_norm: bool = True) -> tuple[MutableGraph, Tensor, Tensor]:
    """Lower one map of an image; return the graph, what it computes, and what it should."""
    graph = MutableGraph(EXCERPTS["norm"])
    (norm,) = graph.fx_graph.find_nodes(op="call_function", target=aten.batch_norm.default)
    x = torch.randn(3, *IMAGE[1:]).double()
    source = norm.args[0]
    assert isinstance(source, fx.Node)
    new = graph.replace_by_map(norm, source, change)
    rewrite_maps_as_operators(graph, {new} if is_norm else ())
    graph.commit()
    with torch.no_grad():
        return graph, graph.module(x), change.scale * x + change.shift


def channels(scale: float, shift: float, axis: int = 1) -> ChannelMap:
    ramp = torch.arange(float((4, 3)[axis > 1]))
    return ChannelMap.on_axis(1 + scale * ramp, shift * ramp, axis, 4)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (channels(2, 0), ["mul"]),
        (channels(0, 3), ["add"]),
        (channels(-2, 3), ["batch_norm"]),
        (channels(0.5, 3).after(channels(0, 1)), ["batch_norm"]),
        (channels(2, 3, axis=3), ["mul", "add"]),
        (channels(2, 0).after(channels(0, 1, axis=2)), ["mul", "add"]),
    ],
)
def test_a_map_that_is_left_is_as_few_operators_as_can_be(
    change: ChannelMap, expected: list[str]
) -> None:
    graph, actual, wanted = lowered(change)
    assert operators(graph) == expected
    torch.testing.assert_close(actual, wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("change", [channels(2, 3), channels(0, 3).after(channels(2, 1))])
def test_arithmetic_that_was_no_norm_becomes_none(change: ChannelMap) -> None:
    graph, actual, wanted = lowered(change, is_norm=False)
    assert operators(graph) == ["mul", "add"]
    torch.testing.assert_close(actual, wanted, rtol=1e-13, atol=1e-13)


def test_the_norm_that_is_left_keeps_the_names_of_its_module() -> None:
    graph, _, _ = lowered(channels(2, 3))
    names = {name.rpartition("_")[0] or name for name in graph.module.state_dict()}
    assert {name.partition(".")[0] for name in names} == {"0"}
    assert len(graph.module.state_dict()) == 4
