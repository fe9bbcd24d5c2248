"""Activations that are positively homogeneous: f(s x) = s f(x) for s > 0.

ReLU, leaky ReLU and PReLU are; ReLU6, GELU, SiLU and all others are not. An addition passes none.
"""

from typing import Any, ClassVar

from torch import fx

from bnconvert.graphs.aten import aten
from bnconvert.layers.layer import Layer, Route, input_of
from bnconvert.layers.plan import Plan
from bnconvert.numerics.channel_map import ChannelMap


class Activation(Layer):
    """ReLU and its leaky relatives, and the absolute value."""

    targets: ClassVar[frozenset[Any]] = frozenset(
        {
            aten.relu.default,
            aten.leaky_relu.default,
            aten.prelu.default,
            aten.abs.default,
        }
    )

    def behind(self, route: Route, node: fx.Node, wanted: ChannelMap) -> Plan | str:
        """Hand a positive multiplication up."""
        return _refusal(node, wanted) or route.upward(input_of(node), node, wanted)

    def ahead(self, route: Route, node: fx.Node, source: fx.Node, owed: ChannelMap) -> Plan | str:
        """Hand a positive multiplication down."""
        if node.args[0] is not source:
            return "it is the slope of an activation"
        return _refusal(node, owed) or route.downward(node, owed)


def _refusal(node: fx.Node, change: ChannelMap) -> str | None:
    name = str(node.target).split(".")[1]
    if not change.is_positive:
        return f"an activation ({name}): only positive scales pass it"
    if change.shifts:
        return f"an activation ({name}): an addition does not pass it"
    return None
