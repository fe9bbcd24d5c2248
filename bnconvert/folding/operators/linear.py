"""Linear layers: y = W x + b over the last axis, with a map of the output or input features.

A linear layer makes features on the last axis; batch norm normalizes axis 1. On (N, L, C) these
are different axes, and with L == C nothing but the number of axes tells.
"""

from typing import Any, ClassVar

from torch import fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.graph_plan import Verdict
from bnconvert.folding.operators.operator_rule import OperatorRule, Propagator, sizes_of
from bnconvert.folding.operators.weights import reweighted, weights_of
from bnconvert.graphs.aten import aten
from bnconvert.numerics.channel_map import ChannelMap
from bnconvert.numerics.linear_maps import conv_with_input_map, linear_with_output_map


class Linear(OperatorRule):
    """Linear layers on any number of axes."""

    targets: ClassVar[frozenset[Any]] = frozenset({aten.linear.default})

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Scale along axis 0 of the weight, (out, in)."""
        found = weights_of(propagator.graph, node)
        if isinstance(found, Refusal):
            return found
        weight, bias = found
        vectors = output_map.vectors(-1, weight.shape[0])
        if vectors is None:
            return Refusal(
                "other-axis",
                f"the linear layer's output has {len(sizes_of(node))} axes: the norm normalizes "
                "axis 1, the features are the last axis",
            )
        return reweighted(propagator, node, *linear_with_output_map(weight, bias, *vectors))

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Scale along axis 1 of the weight."""
        if node.args[0] is not source:
            return Refusal("not-the-input", "it is the weight of a linear layer")
        found = weights_of(propagator.graph, node)
        if isinstance(found, Refusal):
            return found
        weight, bias = found
        vectors = input_map.vectors(-1, weight.shape[1])
        if vectors is None:
            return Refusal(
                "other-axis",
                f"a linear layer on {len(sizes_of(source))} axes, which reads features from the "
                "last axis",
            )
        return reweighted(propagator, node, *conv_with_input_map(weight, bias, *vectors, 1))
