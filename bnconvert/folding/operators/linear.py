"""Linear layers: y = W x + b over the last axis, with a map of the output or input features.

A linear layer makes features on the last axis; batch norm normalizes axis 1. On (N, L, C) these
are different axes, and with L == C nothing but the number of axes tells.
"""

from typing import Any, ClassVar

from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.operator_rule import sizes_of
from bnconvert.folding.operators.weighted_rule import WeightedRule
from bnconvert.folding.operators.weights import Weights
from bnconvert.graphs.aten import argument, aten
from bnconvert.numerics.channel_map import ChannelMap
from bnconvert.numerics.factored import Factored
from bnconvert.numerics.linear_maps import conv_with_input_map


class Linear(WeightedRule):
    """Linear layers on any number of axes."""

    targets: ClassVar[frozenset[Any]] = frozenset({aten.linear.default})

    noun: ClassVar[str] = "a linear layer"

    def obstacle(self, node: fx.Node) -> Refusal | None:
        """Return that a weight of one axis makes no features: the layer is a scalar product."""
        if len(sizes_of(argument(node, "weight"))) == 2:
            return None
        return Refusal("other-axis", "a linear layer whose weight is a vector: it has no features")

    def output_channels(self, node: fx.Node, weight: Factored) -> tuple[int, int]:
        """Return them: features on the last axis, axis 0 of the weight."""
        return -1, weight.shape[0]

    def input_channels(self, node: fx.Node, source: fx.Node, weight: Factored) -> tuple[int, int]:
        """Return them: features on the last axis, axis 1 of the weight."""
        return -1, weight.shape[1]

    def with_input_map(
        self, node: fx.Node, weights: Weights, scale: Tensor, shift: Tensor
    ) -> Weights:
        """Scale along axis 1 of the weight."""
        return conv_with_input_map(*weights, scale, shift, 1)

    def other_axis(self, value: fx.Node, change: ChannelMap, axis: int) -> Refusal:
        """Say that features are on the last axis."""
        return Refusal(
            "other-axis",
            f"a linear layer on {len(sizes_of(value))} axes: its features are the last axis, "
            "the norm normalizes axis 1",
        )
