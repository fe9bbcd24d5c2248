"""Sums of computed values: s (a + b) + t = (s a + t) + (s b), if both can be mapped.

In front, an addition passes: (a + t) + b = (a + b) + t, and may as well go into what makes b. A
multiplication of one summand does not.
"""

from typing import Any, ClassVar

from torch import fx

from bnconvert.graphs.aten import argument, aten
from bnconvert.layers.layer import Layer, Route, sizes_of
from bnconvert.layers.plan import Plan, together
from bnconvert.numerics.channel_map import ChannelMap


class Sum(Layer):
    """Additions and subtractions of two computed values."""

    targets: ClassVar[frozenset[Any]] = frozenset({aten.add.Tensor, aten.sub.Tensor})

    def behind(self, route: Route, node: fx.Node, wanted: ChannelMap) -> Plan | str:
        """Scale both summands and shift one."""
        first, second = summands_of(node)
        if first is second:
            return "it adds a value to itself"
        refusal = ""
        for shifted, other in ((first, second), (second, first)):
            sign = sign_of(node, shifted)
            if sign is None or not fits(shifted, wanted) or not fits(other, wanted.scaling()):
                refusal = "a summand is broadcast"
                continue
            moved = wanted if sign == 1 else ChannelMap(wanted.scale, wanted.shift / sign)
            shares = ((shifted, moved), (other, wanted.scaling()))
            plan = together(route.upward(value, node, share) for value, share in shares)
            if isinstance(plan, Plan):
                return plan
            refusal = refusal or plan
        return refusal

    def ahead(self, route: Route, node: fx.Node, source: fx.Node, owed: ChannelMap) -> Plan | str:
        """Hand an addition on, or put it into the other summand."""
        first, second = summands_of(node)
        sign = sign_of(node, source)
        if first is second or sign is None:
            return "it adds a value to itself"
        if owed.scales:
            return "a sum with another value, which would have to be scaled too"
        other = second if source is first else first
        moved = owed.lifted(len(sizes_of(node)))
        moved = ChannelMap(moved.scale, moved.shift * sign)
        back = sign_of(node, other)
        if back and fits(other, moved):
            aside = ChannelMap(moved.scale, moved.shift / back)
            plan = route.upward(other, node, aside)
            if isinstance(plan, Plan):
                return plan
        return route.downward(node, moved)


def fits(value: fx.Node, change: ChannelMap) -> bool:
    """Tell whether a value has all the axes and positions along which a map varies."""
    sizes = sizes_of(value)
    return len(sizes) == change.axes and all(
        not change.varies_along(axis) or sizes[axis] != 1 for axis in range(change.axes)
    )


def summands_of(node: fx.Node) -> tuple[fx.Node, fx.Node]:
    """Return the two values that an operator adds or subtracts."""
    first, second = node.args[:2]
    assert isinstance(first, fx.Node)
    assert isinstance(second, fx.Node)
    return first, second


def sign_of(node: fx.Node, summand: fx.Node) -> float | None:
    """Return the factor with which a summand counts; None for one that is zero."""
    if summand is node.args[0]:
        return 1.0
    alpha = float(argument(node, "alpha"))
    return (-alpha if node.target is aten.sub.Tensor else alpha) or None
