"""What layers with a stored weight have in common: they absorb maps; each says along which axis."""

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.computed_weight import (
    absorb_output_map as absorb_into_computed,
    is_computed,
)
from bnconvert.folding.operators.graph_plan import Verdict
from bnconvert.folding.operators.operator_rule import OperatorRule, Propagator
from bnconvert.folding.operators.weights import Weights, plan_new_weights, weights_of
from bnconvert.graphs.aten import argument
from bnconvert.numerics.channel_map import ChannelMap
from bnconvert.numerics.factored import Factored
from bnconvert.numerics.linear_maps import linear_with_output_map


class WeightedRule(OperatorRule):
    """A layer that computes from its input with a weight and a bias.

    The model stores both, or computes the weight from its inputs; then a map of the output goes
    into what computes it.
    """

    #: What a reason calls it.
    noun: ClassVar[str]
    takes_repeating: ClassVar[bool] = True  # along the channels of a computed weight
    #: Whether the output channels are axis 0 of the weight.
    channels_first: ClassVar[bool] = True

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Scale and shift the output channels of the weight and the bias."""
        if self.channels_first and is_computed(propagator.graph, node):
            if refusal := self.obstacle(node):
                return refusal
            made = Factored(argument(node, "weight").meta["val"])
            axis, _ = self.output_channels(node, made)
            plan = absorb_into_computed(propagator, node, axis, output_map)
            return self.other_axis(node, output_map, axis) if plan is None else plan
        found = self._weights(propagator, node)
        if isinstance(found, Refusal):
            return found
        axis, count = self.output_channels(node, found[0])
        vectors = output_map.vectors(axis, count)
        if vectors is None:
            return self.other_axis(node, output_map, axis)
        return plan_new_weights(propagator, node, *self.with_output_map(node, found, *vectors))

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Scale the input channels of the weight; what is shifted goes into the bias."""
        if node.args[0] is not source:
            return Refusal("not-the-input", f"it is the weight of {self.noun}")
        found = self._weights(propagator, node)
        if isinstance(found, Refusal):
            return found
        if input_map.shifts and (refusal := self.addition_obstacle(node)):
            return refusal
        axis, count = self.input_channels(node, source, found[0])
        vectors = input_map.vectors(axis, count)
        if vectors is None:
            return self.other_axis(source, input_map, axis)
        return plan_new_weights(propagator, node, *self.with_input_map(node, found, *vectors))

    def obstacle(self, node: fx.Node) -> Refusal | None:
        """Return why this operator is no such layer after all, or None."""
        return None

    def addition_obstacle(self, node: fx.Node) -> Refusal | None:
        """Return why the addition of an input map cannot go into the bias, or None."""
        return None

    @abstractmethod
    def output_channels(self, node: fx.Node, weight: Factored) -> tuple[int, int]:
        """Return the axis of the output along which its channels are, and how many."""

    @abstractmethod
    def input_channels(self, node: fx.Node, source: fx.Node, weight: Factored) -> tuple[int, int]:
        """Return the axis of `source` along which its channels are, and how many."""

    def with_output_map(
        self, node: fx.Node, weights: Weights, scale: Tensor, shift: Tensor
    ) -> Weights:
        """Return weight and bias that compute scale * y + shift instead of y.

        The output channels are axis 0 of the weight, unless a layer says otherwise.
        """
        return linear_with_output_map(*weights, scale, shift)

    @abstractmethod
    def with_input_map(
        self, node: fx.Node, weights: Weights, scale: Tensor, shift: Tensor
    ) -> Weights:
        """Return weight and bias that compute from x what these do from scale * x + shift."""

    def other_axis(self, value: fx.Node, change: ChannelMap, axis: int) -> Refusal:
        """Return the refusal of a map that varies along another axis of `value` than `axis`."""
        if axis == 0:
            said = "the convolution has no batch axis: the norm's axis 1 is not its channels"
            return Refusal("other-axis", said)
        varying = [str(i) for i in range(change.axes) if i != axis and change.varies_along(i)]
        return Refusal(
            "other-axis",
            f"it varies along axis {', '.join(varying)}, the layer's channels are axis {axis}",
        )

    def _weights(self, propagator: Propagator, node: fx.Node) -> Weights | Refusal:
        found = weights_of(propagator.graph, node)
        return found if isinstance(found, Refusal) else self.obstacle(node) or found
