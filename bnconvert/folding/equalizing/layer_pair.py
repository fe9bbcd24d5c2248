"""A pair to equalize: a layer, and all layers that read its output through homogeneous functions.

For a function with f(x / s) = f(x) / s, such as ReLU, W2 f(W1 x + b1) is
(W2 S) f(S^-1 W1 x + S^-1 b1) with S = diag(s), s > 0 (Nagel et al., "Data-Free Quantization
Through Weight Equalization and Bias Correction", 2019, section 4.1). How S passes what lies
between, and into the weights, is what the operators' rules decide for a fold.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.equalizing.clipping import clip_of
from bnconvert.folding.operators.bounds import Rebounded
from bnconvert.folding.operators.graph_plan import GraphPlan, Reweighted, Verdict, combined
from bnconvert.folding.operators.propagation import MapPropagator, rule_of
from bnconvert.folding.operators.weighted_rule import WeightedRule
from bnconvert.folding.operators.weights import weights_of
from bnconvert.graphs.aten import argument, consumers_of, describe
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.channel_map import ChannelMap
from bnconvert.numerics.channel_ranges import probe_factors, probed_ranges


@dataclass(frozen=True, eq=False)
class LayerPair:
    """A layer and its consumers in a graph.

    Attributes:
        producer: the layer.
        consumers: the layers that read its output.
        axis: where its output has channels.
        channels: how many.
    """

    producer: fx.Node
    consumers: tuple[fx.Node, ...]
    axis: int
    channels: int

    def plan(self, graph: MutableGraph, factors: Tensor) -> Verdict:
        """Return how the output is divided by factors, and how the consumers multiply by them.

        Args:
            graph: looked at only.
            factors: positive, float64, shape (channels,).
        """
        return _plan(graph, self.producer, self.axis, factors)

    def ranges(self, graph: MutableGraph) -> tuple[Tensor, Tensor]:
        """Return the ranges of its channels in the producer and in the consumers."""
        plan = self.plan(graph, 1 / probe_factors(self.channels))
        assert isinstance(plan, GraphPlan)
        first = torch.zeros(self.channels, dtype=torch.float64, device="cpu")
        second = first.clone()
        for edit in plan.edits:
            if not isinstance(edit, Reweighted):
                continue
            old = graph.constant(argument(edit.node, "weight"))
            assert old is not None
            if edit.node is self.producer:
                first = probed_ranges(old, edit.weight.numbers(), self.channels)
            else:
                found = probed_ranges(edit.weight.numbers(), old, self.channels)
                second = torch.maximum(second, found)
        return first, second


def find_pair(graph: MutableGraph, node: fx.Node) -> LayerPair | Refusal | None:
    """Return the pair that an operator is the producer of, or why there is none. Looks only.

    Returns:
        None where the operator is no layer, or where its output is the model's.
    """
    rule = rule_of(graph, node)
    if not isinstance(rule, WeightedRule):
        return None
    weights = weights_of(graph, node)
    if isinstance(weights, Refusal):
        return weights
    if refusal := rule.obstacle(node):
        return refusal
    axis, channels = rule.output_channels(node, weights[0])
    plan = _plan(graph, node, axis % len(node.meta["val"].shape), probe_factors(channels))
    if isinstance(plan, Refusal):
        return _explained(node) or plan
    if plan.remarks:
        return Refusal("weight-shared", f"a weight is read by several layers ({plan.remarks[0]})")
    others = [e.node for e in plan.edits if not isinstance(e, Reweighted | Rebounded)]
    if others:
        said = f"{describe(others[0])} reads it, which is no convolution and no linear layer"
        return Refusal("no-layer-downstream", said)
    layers = tuple(e.node for e in plan.edits if isinstance(e, Reweighted) and e.node is not node)
    return LayerPair(node, layers, axis % len(node.meta["val"].shape), channels)


def _plan(graph: MutableGraph, producer: fx.Node, axis: int, factors: Tensor) -> Verdict:
    propagator = MapPropagator(graph)
    axes, none = len(producer.meta["val"].shape), torch.zeros_like(factors)
    divided = ChannelMap.on_axis(1 / factors, none, axis, axes)
    multiplied = ChannelMap.on_axis(factors, none, axis, axes)
    if divided.is_identity:
        return GraphPlan()

    def plans() -> Iterator[Verdict]:
        yield propagator.into_consumers(producer, multiplied)  # what refuses, most often
        yield propagator.absorb_output_map(producer, divided)

    return combined(plans())


def _explained(producer: fx.Node) -> Refusal | None:
    """Return that a clipping function reads a layer, where one does."""
    for consumer in consumers_of(producer):
        if (bound := clip_of(consumer)) is not None:
            return Refusal(
                "not-homogeneous",
                f"{describe(consumer)} clips at {bound:g}: it is not positively homogeneous, and a "
                "scale does not pass it",
                'equalize(..., relu6="per-channel") keeps the function, relu6="relu" drops the '
                "bound",
            )
    return None
