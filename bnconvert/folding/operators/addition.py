"""Sums of computed values: s (a + b) + t = (s a + t) + (s b), if both can be mapped.

Downwards an addition passes: (a + t) + b = (a + b) + t, and may as well go into the producer of b.
A multiplication of one summand does not.
"""

from typing import Any, ClassVar

from torch import fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.graph_plan import GraphPlan, Verdict, combined
from bnconvert.folding.operators.operator_rule import OperatorRule, Propagator, sizes_of
from bnconvert.graphs.aten import argument, aten
from bnconvert.numerics.channel_map import ChannelMap

_BROADCAST = Refusal("broadcast", "a summand is broadcast")


class Sum(OperatorRule):
    """Additions and subtractions of two computed values."""

    targets: ClassVar[frozenset[Any]] = frozenset({aten.add.Tensor, aten.sub.Tensor})

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Scale both summands and shift one: that which fewer others read, if it can be.

        The other summand of a residual block is the sum of all blocks upstream, and a shift of it
        would be taken back in each of them.
        """
        first, second = summands_of(node)
        if first is second:
            return Refusal("value-used-twice", "it adds a value to itself")
        refusal: Refusal | None = None
        pairs = (first, second), (second, first)
        for shifted, other in sorted(pairs, key=lambda pair: len(pair[0].users)):
            sign = sign_of(node, shifted)
            if (
                sign is None
                or not fits(shifted, output_map)
                or not fits(other, output_map.scaling())
            ):
                refusal = _BROADCAST
                continue
            moved = (
                output_map if sign == 1 else ChannelMap(output_map.scale, output_map.shift / sign)
            )
            shares = ((shifted, moved), (other, output_map.scaling()))
            plan = combined(propagator.into_producer(value, node, share) for value, share in shares)
            if isinstance(plan, GraphPlan):
                return plan
            refusal = refusal or plan
        return refusal or _BROADCAST

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Propagate a shift into the other summand, or into the consumers."""
        first, second = summands_of(node)
        sign = sign_of(node, source)
        if first is second or sign is None:
            return Refusal("value-used-twice", "it adds a value to itself")
        if input_map.scales:
            return Refusal(
                "scale-does-not-pass", "a sum with another value, which would have to be scaled too"
            )
        other = second if source is first else first
        moved = input_map.lifted(len(sizes_of(node)))
        moved = ChannelMap(moved.scale, moved.shift * sign)
        back = sign_of(node, other)
        if back and fits(other, moved):
            plan = propagator.into_producer(
                other, node, ChannelMap(moved.scale, moved.shift / back)
            )
            if isinstance(plan, GraphPlan):
                return plan
        return propagator.into_consumers(node, moved)


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
