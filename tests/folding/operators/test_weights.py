from typing import Any

import torch
from torch import Tensor, fx, nn

from bnconvert.errors import Refusal
from bnconvert.folding.operators.graph_plan import GraphPlan
from bnconvert.folding.operators.propagation import MapPropagator
from bnconvert.folding.operators.weights import Weights, example_size, plan_new_weights, weights_of
from bnconvert.graphs.aten import argument, aten
from bnconvert.graphs.mutable_graph import MutableGraph
from tests.excerpts import Excerpts, capture_of, model


def tied(width: int, count: int) -> nn.Sequential:
    layers = nn.Sequential(*(nn.Linear(width, width) for _ in range(count)))
    for layer in layers:
        layer.weight = layers[0].weight
    return layers


class Called(nn.Module):
    """Calls a layer on two inputs, and something on both of its outputs."""

    def __init__(self, after: nn.Module) -> None:
        super().__init__()
        self.layer, self.after = nn.Linear(5, 5), after

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.after(self.layer(x)) - self.after(self.layer(-x))
        return y


EXCERPTS = Excerpts(
    {
        "one": model(lambda: nn.Linear(3, 4, bias=False), (2, 3)),
        "narrow": model(lambda: tied(4, 2), (2, 4)),
        "wide": model(lambda: tied(5, 3), (2, 5)),
        "same_norm": model(lambda: Called(nn.BatchNorm1d(5)), (2, 5)),
        "activations": model(lambda: Called(nn.ReLU()), (2, 5)),
    }
)


def layers(module: fx.GraphModule) -> tuple[MutableGraph, list[fx.Node]]:
    return MutableGraph(module), list(
        module.graph.find_nodes(op="call_function", target=aten.linear.default)
    )


def read(graph: MutableGraph, node: fx.Node) -> Weights:
    """Return the weights of a layer that has some."""
    weights = weights_of(graph, node)
    assert not isinstance(weights, Refusal)
    return weights


def test_weights_are_read_in_float64() -> None:
    module = capture_of(nn.Linear(3, 4).half().eval(), (torch.ones(2, 3).half(),)).module
    graph, (node,) = layers(module)
    weight, bias = read(graph, node)
    assert bias is not None
    assert weight.numbers().dtype is bias.dtype is torch.float64
    graph, (node,) = layers(EXCERPTS["one"])
    assert read(graph, node)[1] is None


def test_a_weight_of_whole_numbers_cannot_be_scaled() -> None:
    module: Any = EXCERPTS["one"]
    del module._parameters["weight"]
    module.weight = torch.ones(4, 3, dtype=torch.int8)
    graph, (node,) = layers(module)
    refusal = weights_of(graph, node)
    assert refusal == Refusal(
        "not-floating-point", "the layer's weight is torch.int8, not a floating-point tensor"
    )


def test_weights_that_overflow_their_dtype_are_refused() -> None:
    module = capture_of(nn.Linear(3, 4).half().eval(), (torch.ones(2, 3).half(),)).module
    graph, (node,) = layers(module)
    weight, bias = read(graph, node)
    assert bias is not None
    refusal = Refusal("weight-overflows", "the folded weight overflows torch.float16")
    assert isinstance(plan_new_weights(MapPropagator(graph), node, weight, bias), GraphPlan)
    assert plan_new_weights(MapPropagator(graph), node, weight * torch.tensor(1e6), bias) == refusal
    assert plan_new_weights(MapPropagator(graph), node, weight, bias + 1e5) == refusal


def test_a_tied_weight_is_copied_where_the_copy_is_smaller_than_what_a_norm_moves() -> None:
    graph, (first, _) = layers(EXCERPTS["narrow"])
    plan = plan_new_weights(MapPropagator(graph), first, *read(graph, first))
    assert isinstance(plan, GraphPlan)
    assert plan.remarks == ("with a copy of its weight, which 1 (linear) reads too",)
    graph, (first, *_) = layers(EXCERPTS["wide"])
    assert plan_new_weights(MapPropagator(graph), first, *read(graph, first)) == Refusal(
        "weight-shared",
        "the layer's weight is also read by 1 (linear), 2 (linear), and a copy costs more",
    )


def test_a_layer_of_two_calls_gets_one_new_weight_where_one_norm_follows_both() -> None:
    graph, (first, _) = layers(EXCERPTS["same_norm"])
    plan = plan_new_weights(MapPropagator(graph), first, *read(graph, first))
    assert isinstance(plan, GraphPlan)
    assert plan.remarks == ()
    graph, (first, _) = layers(EXCERPTS["activations"])
    refusal = plan_new_weights(MapPropagator(graph), first, *read(graph, first))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "weight-shared"


def test_a_value_has_as_many_numbers_as_in_the_example() -> None:
    _, (node,) = layers(EXCERPTS["one"])
    assert example_size(node) == 2 * 4
    assert example_size(argument(node, "weight")) == 3 * 4
