"""A norm whose multiplication and addition go different ways, or of which only one goes.

s x + t = (s x) + t = s (x + t / s): the multiplication may move up and the addition down, or the
other way round. A pre-activation norm is the common case: relu(s x + t) = s relu(x + t / s) for
s > 0, so that the multiplication goes into the convolution behind the activation, whatever its
padding, and an addition is left.
"""

from collections.abc import Iterator
from typing import ClassVar

from torch import fx

from bnconvert.folds.fold import Fold
from bnconvert.layers.affine import Reading, read_affine
from bnconvert.layers.plan import Plan, Remapped, Vanished, together
from bnconvert.layers.way import Way
from bnconvert.numerics.channel_map import ChannelMap


class Apart(Fold):
    """Multiplication and addition, each its own way."""

    name: ClassVar[str] = "apart"

    def decide(self, way: Way, node: fx.Node) -> Plan | str | None:
        """Move both, or else one of them; what cannot move stays in the norm's place."""
        reading = read_affine(way.network, node)
        if not isinstance(reading, Reading):
            return reading
        if not reading.change.scales or not reading.change.shifts:
            return None
        for plan, rest in _ways(way, node, reading):
            if isinstance(plan, str) or not way.network.fits(node, rest.scale, rest.shift):
                continue
            last = Vanished(node) if rest.is_identity else Remapped(node, rest)
            whole = plan.with_plan(Plan((last,)))
            if isinstance(whole, Plan) and _saves(way, whole):
                return whole
        return None


def _saves(way: Way, plan: Plan) -> bool:
    """Tell whether a plan removes an operator, or leaves fewer multiplications and additions.

    What only moves from one map to another could move for ever.
    """
    saved = 0
    for edit in plan.edits:
        if isinstance(edit, Remapped):
            reading = read_affine(way.network, edit.node)
            assert isinstance(reading, Reading)
            saved += reading.change.steps - edit.change.steps
    return bool(plan.removes) or saved > 0


def _ways(way: Way, node: fx.Node, reading: Reading) -> Iterator[tuple[Plan | str, ChannelMap]]:
    """Give plans and what each of them leaves, the best first."""
    source, change = reading.source, reading.change
    none = ChannelMap.identity(change.axes)
    scaling, shifting, first = change.scaling(), change.shifting(), change.shifting_first()
    scale_up = way.upward(source, node, scaling)
    shift_down = way.downward(node, shifting)
    scale_down = way.downward(node, scaling) if first else "a scale is zero"
    shift_up = way.upward(source, node, first) if first else "a scale is zero"
    yield together((scale_up, shift_down)), none
    yield together((scale_down, shift_up)), none
    yield scale_up, shifting
    if first is not None:
        yield scale_down, first
    yield shift_down, scaling
    yield shift_up, scaling
