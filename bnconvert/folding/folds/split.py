"""A norm whose multiplication and addition go different ways, or of which only one goes.

s x + t = (s x) + t = s (x + t / s): the multiplication may move up and the addition down, or the
other way round. A pre-activation norm is the common case: relu(s x + t) = s relu(x + t / s) for
s > 0, so that the multiplication goes into the convolution after the activation, whatever its
padding, and an addition is left.
"""

from collections.abc import Iterator
from typing import ClassVar

from torch import fx

from bnconvert.errors import Refusal
from bnconvert.folding.folds.fold import AffineFold
from bnconvert.folding.operators.affine import AffineReading, read_affine
from bnconvert.folding.operators.graph_plan import (
    Eliminated,
    GraphPlan,
    Remapped,
    Verdict,
    combined,
)
from bnconvert.folding.operators.operator_rule import Propagator
from bnconvert.numerics.channel_map import ChannelMap

_ZERO = Refusal("scale-is-zero", "a scale is zero")


class SplitAffine(AffineFold):
    """Multiplication and addition, each moved by itself."""

    name: ClassVar[str] = "split"

    def decide_affine(
        self, propagator: Propagator, node: fx.Node, reading: AffineReading
    ) -> Verdict | None:
        """Move both, or else one of them; what cannot move stays in the norm's place."""
        if not reading.change.scales or not reading.change.shifts:
            return None
        for plan, rest in _candidates(propagator, node, reading):
            if isinstance(plan, Refusal) or not propagator.graph.stays_finite(
                node, rest.scale, rest.shift
            ):
                continue
            last = Eliminated(node) if rest.is_identity else Remapped(node, rest)
            whole = plan.with_plan(GraphPlan((last,)))
            if isinstance(whole, GraphPlan) and _saves(propagator, whole):
                return whole
        return None


def _saves(propagator: Propagator, plan: GraphPlan) -> bool:
    """Tell whether a plan removes an operator, or leaves fewer multiplications and additions.

    What only moves from one map to another could move for ever.
    """
    saved = 0
    for edit in plan.edits:
        if isinstance(edit, Remapped):
            reading = read_affine(propagator.graph, edit.node)
            assert isinstance(reading, AffineReading)
            saved += reading.change.steps - edit.change.steps
    return bool(plan.removes) or saved > 0


def _candidates(
    propagator: Propagator, node: fx.Node, reading: AffineReading
) -> Iterator[tuple[Verdict, ChannelMap]]:
    """Yield plans and what each of them leaves, the best first."""
    source, change = reading.source, reading.change
    none = ChannelMap.identity(change.axes)
    scaling, shifting, first = change.scaling(), change.shifting(), change.shifting_first()
    scale_up = propagator.into_producer(source, node, scaling)
    shift_down = propagator.into_consumers(node, shifting)
    scale_down = propagator.into_consumers(node, scaling) if first else _ZERO
    shift_up = propagator.into_producer(source, node, first) if first else _ZERO
    yield combined((scale_up, shift_down)), none
    yield combined((scale_down, shift_up)), none
    yield scale_up, shifting
    if first is not None:
        yield scale_down, first
    yield shift_down, scaling
    yield shift_up, scaling
