from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from bnconvert.errors import Refusal
from bnconvert.folding.operators.graph_plan import (
    Edit,
    Eliminated,
    GraphPlan,
    Remapped,
    Repadded,
    Reweighted,
)
from bnconvert.graphs.aten import aten
from bnconvert.graphs.mutable_graph import MutableGraph, channelwise
from bnconvert.numerics.channel_map import ChannelMap
from bnconvert.numerics.factored import Factored
from tests.excerpts import Excerpts, function, model
from tests.zoo import trained

IMAGE = (2, 4, 5, 5)
EXCERPTS = Excerpts(
    {
        "convs": model(
            lambda: nn.Sequential(*(nn.Conv2d(4, 4, 1, bias=i > 0) for i in range(5))), IMAGE
        ),
        "norms": model(lambda: trained(nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4))), IMAGE),
        "padded": function(lambda x: F.pad(x, (1, 1), value=3.0), IMAGE),
        "padded_lowered": function(lambda x: torch.constant_pad_nd(x, [1, 1]), IMAGE),
    }
)


def operators(graph: MutableGraph, target: Callable[..., Any]) -> list[fx.Node]:
    return list(graph.fx_graph.find_nodes(op="call_function", target=target))


def doubling() -> ChannelMap:
    return ChannelMap.on_axis(torch.full((4,), 2.0), torch.arange(4.0), 1, 4)


def reweighted(node: fx.Node) -> Reweighted:
    return Reweighted(node, Factored(torch.ones(4, 4, 1, 1)), torch.arange(4.0).double())


def applied(graph: MutableGraph, *edits: Edit) -> Tensor:
    GraphPlan(edits).apply(graph)
    graph.commit()
    with torch.no_grad():
        result: Tensor = graph.module(torch.ones(IMAGE).double())
    return result


def test_two_plans_about_one_operator_do_not_go_together() -> None:
    first, second, *_ = operators(MutableGraph(EXCERPTS["convs"]), aten.conv2d.default)
    both = GraphPlan((reweighted(first),)).with_plan(GraphPlan((reweighted(second),)))
    assert isinstance(both, GraphPlan)
    assert [edit.node for edit in both.edits] == [first, second]
    assert both.with_plan(GraphPlan((reweighted(second),))) == Refusal(
        "paths-meet", "two paths from it meet again at 1 (conv2d)"
    )


def test_remarks_stay_together_too() -> None:
    both = GraphPlan(remarks=("one",)).with_plan(GraphPlan(remarks=("two",)))
    assert isinstance(both, GraphPlan)
    assert both.remarks == ("one", "two")


def test_the_first_three_places_are_named() -> None:
    convs = operators(MutableGraph(EXCERPTS["convs"]), aten.conv2d.default)
    edits = [reweighted(node) for node in convs]
    assert GraphPlan().places == ""
    assert GraphPlan((edits[0],)).places == "0 (conv2d)"
    assert GraphPlan(tuple(edits)).places == "0 (conv2d), 1 (conv2d), 2 (conv2d) and 2 more"


def test_what_vanishes_is_removed_and_no_place() -> None:
    first, second = operators(MutableGraph(EXCERPTS["norms"]), aten.batch_norm.default)
    plan = GraphPlan((Remapped(second, doubling()), Eliminated(first)))
    assert plan.removes == (first,)
    assert plan.places == "1 (batch_norm)"


def test_a_layer_gets_another_weight_and_a_bias_that_it_had_not() -> None:
    graph = MutableGraph(EXCERPTS["convs"])
    first, *rest = operators(graph, aten.conv2d.default)
    output = applied(graph, reweighted(first), *map(reweighted, rest))
    value = torch.ones(IMAGE).double()
    for _ in range(5):
        value = value.sum(1, keepdim=True) + torch.arange(4.0).reshape(1, -1, 1, 1)
    torch.testing.assert_close(output, value)


def test_an_operator_that_vanishes_leaves_what_it_read() -> None:
    graph = MutableGraph(EXCERPTS["norms"])
    first, second = operators(graph, aten.batch_norm.default)
    assert torch.equal(applied(graph, Eliminated(first), Eliminated(second)), torch.ones(IMAGE))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_operator_gets_another_map_whatever_became_of_its_input(order: tuple[int, int]) -> None:
    graph = MutableGraph(EXCERPTS["norms"])
    first, second = operators(graph, aten.batch_norm.default)
    edits = Remapped(first, doubling()), Eliminated(second)
    output = applied(graph, *(edits[i] for i in order))
    assert len(operators(graph, channelwise)) == 1
    expected = (2 + torch.arange(4.0)).double().reshape(1, -1, 1, 1).expand(IMAGE)
    assert torch.equal(output, expected)


@pytest.mark.parametrize("name", ["padded", "padded_lowered"])
def test_a_padding_gets_another_constant(name: str) -> None:
    graph = MutableGraph(EXCERPTS[name])
    (node,) = [node for node in graph.fx_graph.nodes if node.op == "call_function"]
    output = applied(graph, Repadded(node, -7.0))
    assert torch.equal(output, F.pad(torch.ones(IMAGE).double(), (1, 1), value=-7.0))
