"""Transposed convolutions: the same algebra on other axes of the weight.

The weight is (in, out/groups, ...): output channel g * (out/groups) + j is axis 1, column j, of
the input channels of group g only. Scaling axis 0, or axis 1 across the groups, is wrong.

In front only the multiplication moves, even without padding: how many windows overlap, and so
how often an addition counts, differs from place to place.
"""

from typing import Any, ClassVar

from torch import fx

from bnconvert.graphs.aten import argument, aten
from bnconvert.layers.conv import channel_axis, other_axis
from bnconvert.layers.layer import Layer, Route
from bnconvert.layers.plan import Plan
from bnconvert.layers.weights import reweighted, weights_of
from bnconvert.numerics.channel_map import ChannelMap
from bnconvert.numerics.linear_maps import ahead_of_transposed, behind_transposed


class ConvTranspose(Layer):
    """Transposed convolutions in one, two and three dimensions, with groups."""

    targets: ClassVar[frozenset[Any]] = frozenset(
        {
            aten.conv_transpose1d.default,
            aten.conv_transpose2d.input,
            aten.conv_transpose3d.input,
        }
    )

    def behind(self, route: Route, node: fx.Node, wanted: ChannelMap) -> Plan | str:
        """Scale along axis 1 of the weight, group by group."""
        found = weights_of(route.network, node)
        if isinstance(found, str):
            return found
        weight, bias = found
        groups = int(argument(node, "groups"))
        axis = channel_axis(node, weight.dim())
        vectors = wanted.vectors(axis, weight.shape[1] * groups)
        if vectors is None:
            return other_axis(wanted, axis)
        return reweighted(route, node, *behind_transposed(weight, bias, *vectors, groups))

    def ahead(self, route: Route, node: fx.Node, source: fx.Node, owed: ChannelMap) -> Plan | str:
        """Scale along axis 0 of the weight; refuse an addition."""
        if node.args[0] is not source:
            return "it is the weight of a convolution"
        found = weights_of(route.network, node)
        if isinstance(found, str):
            return found
        weight, bias = found
        if owed.shifts:
            return "a transposed convolution: its windows overlap unequally"
        axis = channel_axis(source, weight.dim())
        vectors = owed.vectors(axis, weight.shape[0])
        if vectors is None:
            return other_axis(owed, axis)
        return reweighted(route, node, ahead_of_transposed(weight, vectors[0]), bias)
