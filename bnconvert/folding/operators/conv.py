"""Convolutions: y = W * x + b, with a map of the output or of the input channels.

Output map: s (W * x + b) + t = (s W) * x + (s b + t), for every kernel, stride, padding, dilation
and number of groups, because the output channels are axis 0 of the weight: (out, in/groups, ...).

Input map: W * (s x + t) + b = (W s) * x + (b + sum of W t). The second term holds only where the
whole window lies inside the input: zero padding pads s x + t with zeros, not x. So with an
addition there must be no padding; the multiplication alone passes any.
"""

from typing import Any, ClassVar

from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.operator_rule import sizes_of
from bnconvert.folding.operators.weighted_rule import WeightedRule
from bnconvert.folding.operators.weights import Weights
from bnconvert.graphs.aten import argument, aten
from bnconvert.numerics.factored import Factored
from bnconvert.numerics.linear_maps import conv_with_input_map

BORDER = Refusal("border", "zero padding: at the border its addition would be left out")


class Conv(WeightedRule):
    """Convolutions in one, two and three dimensions."""

    targets: ClassVar[frozenset[Any]] = frozenset(
        {
            aten.conv1d.default,
            aten.conv2d.default,
            aten.conv3d.default,
            aten.conv1d.padding,
            aten.conv2d.padding,
            aten.conv3d.padding,
            aten.convolution.default,
        }
    )

    noun: ClassVar[str] = "a convolution"

    def obstacle(self, node: fx.Node) -> Refusal | None:
        """Refuse a transposed convolution in a lowered form."""
        return lowered_transposed(node)

    def addition_obstacle(self, node: fx.Node) -> Refusal | None:
        """Refuse where windows reach over the border."""
        return BORDER if pads(node) else None

    def output_channels(self, node: fx.Node, weight: Factored) -> tuple[int, int]:
        """Return them: axis 0 of the weight."""
        return channel_axis(node, weight.dim()), weight.shape[0]

    def input_channels(self, node: fx.Node, source: fx.Node, weight: Factored) -> tuple[int, int]:
        """Return them: axis 1 of the weight, in each group."""
        groups = int(argument(node, "groups"))
        return channel_axis(source, weight.dim()), weight.shape[1] * groups

    def with_input_map(
        self, node: fx.Node, weights: Weights, scale: Tensor, shift: Tensor
    ) -> Weights:
        """Scale along the input channels of the weight."""
        return conv_with_input_map(*weights, scale, shift, int(argument(node, "groups")))


def channel_axis(value: fx.Node, weight_axes: int) -> int:
    """Return where a convolution's input or output has its channels: 0 without a batch axis."""
    return len(sizes_of(value)) - weight_axes + 1


def pads(node: fx.Node) -> bool:
    """Tell whether a convolution's windows may reach over the border of its input."""
    padding = argument(node, "padding")
    if padding == "valid":
        return False
    if padding == "same":
        kernel = argument(node, "weight").meta["val"].shape[2:]
        return any(size != 1 for size in kernel)
    return any(padding) if isinstance(padding, list | tuple) else bool(padding)


def lowered_transposed(node: fx.Node) -> Refusal | None:
    """Return why `aten.convolution` is no convolution, or None."""
    if node.target is aten.convolution.default and argument(node, "transposed"):
        return Refusal("unsupported-operator", "it is a transposed convolution in a lowered form")
    return None
