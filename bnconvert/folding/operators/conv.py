"""Convolutions: y = W * x + b, with a map of the output or of the input channels.

Output map: s (W * x + b) + t = (s W) * x + (s b + t), for every kernel, stride, padding, dilation
and number of groups, because the output channels are axis 0 of the weight: (out, in/groups, ...).

Input map: W * (s x + t) + b = (W s) * x + (b + sum of W t). The second term holds only where the
whole window lies inside the input: zero padding pads s x + t with zeros, not x. So with an
addition there must be no padding; the multiplication alone passes any.
"""

from typing import Any, ClassVar

from torch import fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.graph_plan import Verdict
from bnconvert.folding.operators.operator_rule import OperatorRule, Propagator, sizes_of
from bnconvert.folding.operators.weights import reweighted, weights_of
from bnconvert.graphs.aten import argument, aten
from bnconvert.numerics.channel_map import ChannelMap
from bnconvert.numerics.linear_maps import conv_with_input_map, linear_with_output_map

BORDER = Refusal("border", "zero padding: at the border its addition would be left out")


class Conv(OperatorRule):
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

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Scale along axis 0 of the weight."""
        found = weights_of(propagator.graph, node)
        if isinstance(found, Refusal):
            return found
        if refusal := lowered_transposed(node):
            return refusal
        weight, bias = found
        vectors = output_map.vectors(channel_axis(node, weight.dim()), weight.shape[0])
        if vectors is None:
            return other_axis(output_map, channel_axis(node, weight.dim()))
        return reweighted(propagator, node, *linear_with_output_map(weight, bias, *vectors))

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Scale along the input channels of the weight; an addition needs whole windows."""
        if node.args[0] is not source:
            return Refusal("not-the-input", "it is the weight of a convolution")
        found = weights_of(propagator.graph, node)
        if isinstance(found, Refusal):
            return found
        if refusal := lowered_transposed(node):
            return refusal
        weight, bias = found
        if input_map.shifts and pads(node):
            return BORDER
        groups = int(argument(node, "groups"))
        axis = channel_axis(source, weight.dim())
        vectors = input_map.vectors(axis, weight.shape[1] * groups)
        if vectors is None:
            return other_axis(input_map, axis)
        return reweighted(propagator, node, *conv_with_input_map(weight, bias, *vectors, groups))


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


def other_axis(change: ChannelMap, axis: int) -> Refusal:
    """Return the reason where a map varies along another axis than the layer's channels."""
    if axis == 0:
        return Refusal(
            "other-axis", "the convolution has no batch axis: the norm's axis 1 is not its channels"
        )
    varying = [str(i) for i in range(change.axes) if i != axis and change.varies_along(i)]
    return Refusal(
        "other-axis",
        f"it varies along axis {', '.join(varying)}, the layer's channels are axis {axis}",
    )


def lowered_transposed(node: fx.Node) -> Refusal | None:
    """Return why `aten.convolution` is no convolution, or None."""
    if node.target is aten.convolution.default and argument(node, "transposed"):
        return Refusal("unsupported-operator", "it is a transposed convolution in a lowered form")
    return None
