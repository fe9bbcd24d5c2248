"""A norm before convolutions or linear layers goes into their weights: all of them or none.

W (s x + t) + b = (W s) x + (W t + b). With zero padding the addition cannot move: at the border
it would be left out.
"""

from typing import ClassVar

from torch import fx

from bnconvert.folding.folds.fold import AffineFold, Direction, eliminated
from bnconvert.folding.operators.affine import AffineReading
from bnconvert.folding.operators.graph_plan import Verdict
from bnconvert.folding.operators.operator_rule import Propagator


class Forward(AffineFold):
    """The norm, then operators that commute, then layers."""

    name: ClassVar[str] = "forward"
    direction: ClassVar[Direction] = "downstream"

    def decide_affine(
        self, propagator: Propagator, node: fx.Node, reading: AffineReading
    ) -> Verdict | None:
        """Move the scale and the shift down to all layers that consume the result."""
        return eliminated(node, propagator.into_consumers(node, reading.change))
