"""Padding: by reflection, replication or wrapping it commutes with every map of the channels.

With a constant p, the map makes s p + t of it, which the padding can give itself where that is one
number for all channels.
"""

from typing import Any, ClassVar

from torch import fx

from bnconvert.graphs.aten import argument, aten
from bnconvert.layers.layer import Layer, Route, input_of, sizes_of
from bnconvert.layers.plan import Plan, Repadded
from bnconvert.numerics.channel_map import ChannelMap, reduced

_CONSTANT = aten.constant_pad_nd.default


class Padding(Layer):
    """Padding of any mode."""

    targets: ClassVar[frozenset[Any]] = frozenset(
        {
            aten.pad.default,
            _CONSTANT,
            aten.reflection_pad1d.default,
            aten.reflection_pad2d.default,
            aten.reflection_pad3d.default,
            aten.replication_pad1d.default,
            aten.replication_pad2d.default,
            aten.replication_pad3d.default,
        }
    )

    def behind(self, route: Route, node: fx.Node, wanted: ChannelMap) -> Plan | str:
        """Hand the map up; the constant becomes what the map makes of it."""
        if refusal := _varying(node, wanted):
            return refusal
        plan = route.upward(input_of(node), node, wanted)
        constant = _constant_of(node)
        if isinstance(plan, str) or constant is None:
            return plan
        mapped = reduced(wanted.scale * constant + wanted.shift)
        if mapped.numel() > 1:
            return BORDER
        return _with_constant(node, float(mapped), constant, plan)

    def ahead(self, route: Route, node: fx.Node, source: fx.Node, owed: ChannelMap) -> Plan | str:
        """Hand the map down; the constant becomes what the map makes the old one of."""
        if refusal := _varying(node, owed):
            return refusal
        plan = route.downward(node, owed)
        constant = _constant_of(node)
        if isinstance(plan, str) or constant is None:
            return plan
        if bool((owed.scale == 0).any()):
            return "padding of a value that is multiplied by zero"
        mapped = reduced((constant - owed.shift) / owed.scale)
        if mapped.numel() > 1:
            return BORDER
        return _with_constant(node, float(mapped), constant, plan)


BORDER = "padding with one constant: at the border each channel would need its own"


def _with_constant(node: fx.Node, value: float, old: float, plan: Plan) -> Plan | str:
    return plan if value == old else plan.with_plan(Plan((Repadded(node, value),)))


def _constant_of(node: fx.Node) -> float | None:
    """Return with which number an operator pads; None where it pads with what is there."""
    if node.target is aten.pad.default and argument(node, "mode") != "constant":
        return None
    if node.target in (aten.pad.default, _CONSTANT):
        return float(argument(node, "value") or 0.0)
    return None


def _varying(node: fx.Node, change: ChannelMap) -> str | None:
    axes = len(sizes_of(node))
    amounts = node.args[1]
    assert isinstance(amounts, list | tuple)
    padded = [axes - 1 - i // 2 for i, amount in enumerate(amounts) if amount != 0]
    if any(change.varies_along(axis) for axis in padded):
        return "it varies along an axis that is padded"
    return None
