"""Layers whose weight is computed in the forward, such as CondConv (Yang et al., 2019).

s (W * x + b) + t = (s W) * x + (s b + t), as with a stored weight: the scale goes into what
computes W, there into the bank of weights that it is mixed from. Without a bias the layer gets one.
Where samples are groups of one convolution, the bias repeats for each of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.graph_plan import (
    Edit,
    GraphPlan,
    Replacements,
    Verdict,
    combined,
)
from bnconvert.folding.operators.operator_rule import Propagator, are_equal, sizes_of
from bnconvert.graphs.aten import argument, aten
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.channel_map import ChannelMap


@dataclass(frozen=True, eq=False)
class Rebiased(Edit):
    """A layer with another bias, or with one for the first time; its weight is computed.

    Attributes:
        bias: in float64.
        times: what computes how often it repeats; None for once.
    """

    bias: Tensor
    times: fx.Node | None

    def apply(self, graph: MutableGraph) -> Replacements:
        """Give it a constant of its own."""
        made = argument(self.node, "weight").meta["val"]
        bias = graph.add_constant(self.node, "bias", self.bias, made.dtype)
        if self.times is not None:
            with graph.fx_graph.inserting_before(self.node):
                bias = graph.fx_graph.call_function(aten.repeat.default, (bias, [self.times]))
            bias.meta = {**self.node.meta, "val": made.new_empty(made.shape[0])}
        self.node.args = (*self.node.args[:2], bias, *self.node.args[3:])
        self.node.kwargs = {k: v for k, v in self.node.kwargs.items() if k != "bias"}
        return {}


def is_computed(graph: MutableGraph, node: fx.Node) -> bool:
    """Tell whether a layer's weight is computed in the forward."""
    return graph.factored(argument(node, "weight")) is None


def absorb_output_map(
    propagator: Propagator, node: fx.Node, axis: int, output_map: ChannelMap
) -> Verdict | None:
    """Return how a layer's computed weight and bias can absorb a map of its output.

    Args:
        propagator: hands the map on.
        node: the layer; its output channels are axis 0 of its weight.
        axis: of its output, along which its channels are.
        output_map: the map.

    Returns:
        The plan or the refusal; None where the map varies along another axis.
    """
    axis %= output_map.axes
    if any(output_map.varies_along(other) for other in range(output_map.axes) if other != axis):
        return None
    weight, bias = argument(node, "weight"), argument(node, "bias")
    axes = len(sizes_of(weight))
    along = output_map.each(lambda t: t.flatten())
    scaling = along.scaling().each(lambda t: t.reshape(-1, *[1] * (axes - 1)))
    return combined(_shares(propagator, node, scaling, along, weight, bias))


def _shares(
    propagator: Propagator,
    node: fx.Node,
    scaling: ChannelMap,
    along: ChannelMap,
    weight: fx.Node,
    bias: fx.Node | None,
) -> Iterator[Verdict]:
    yield _explained(propagator.into_producer(weight, node, scaling))
    stored = propagator.graph.constant(bias)
    if bias is not None and stored is None:
        yield propagator.into_producer(bias, node, along)
    elif stored is not None:
        yield _new_bias(propagator.graph, node, weight, along.scale * stored + along.shift)
    elif along.shifts:
        yield _new_bias(propagator.graph, node, weight, along.shift)


def _explained(verdict: Verdict) -> Verdict:
    """Say of a refusal that it is about a weight; where a search was ended, it stays as it is."""
    if isinstance(verdict, GraphPlan) or verdict.code in ("too-far", "too-many-ways"):
        return verdict
    return Refusal(
        "computed-in-forward",
        f"the layer's weight is computed in the forward, not stored: {verdict.text}",
    )


def _new_bias(graph: MutableGraph, node: fx.Node, weight: fx.Node, bias: Tensor) -> Verdict:
    if not graph.stays_finite(weight, bias):
        return Refusal("weight-overflows", f"the folded bias overflows {weight.meta['val'].dtype}")
    channels = sizes_of(weight)[0]
    if isinstance(channels, int):
        return GraphPlan((Rebiased(node, bias.expand(channels), None),))
    for other in node.graph.nodes:
        if other is node:
            break
        size = other.meta.get("val")
        if isinstance(size, torch.SymInt) and are_equal(size * len(bias), channels):
            return GraphPlan((Rebiased(node, bias, other),))
    return Refusal("dynamic-size", "nothing computes how often the bias of each sample repeats")
