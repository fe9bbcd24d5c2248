"""A norm after operators that commute with it moves up to the layers that computed the values.

Concatenation divides it among the branches, a sum scales all summands and shifts one, averages,
resizing, reflection, shuffling and views let it pass, maxima and ReLU only some of it. All
branches must end in a layer that absorbs its share, or nothing moves.
"""

from typing import ClassVar

from torch import fx

from bnconvert.folding.folds.fold import AffineFold, eliminated
from bnconvert.folding.operators.affine import AffineReading
from bnconvert.folding.operators.graph_plan import Verdict
from bnconvert.folding.operators.operator_rule import Propagator


class Through(AffineFold):
    """Layers, then operators that commute, then the norm."""

    name: ClassVar[str] = "through"

    def decide_affine(
        self, propagator: Propagator, node: fx.Node, reading: AffineReading
    ) -> Verdict | None:
        """Move the scale and the shift up to the layers that computed what they map."""
        return eliminated(node, propagator.into_producer(reading.source, node, reading.change))
