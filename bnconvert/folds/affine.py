"""Maps in a row become one: s (s' x + t') + t = (s s') x + (s t' + t); identities are removed."""

from typing import ClassVar

from torch import fx

from bnconvert.folds.fold import AffineFold, eliminated
from bnconvert.graphs.aten import consumers_of
from bnconvert.layers.affine import AffineReading, read_affine, remapped
from bnconvert.layers.layer import Propagator
from bnconvert.layers.plan import Eliminated, GraphPlan, Verdict


class Affine(AffineFold):
    """Chains of norms, constant factors and constant summands."""

    name: ClassVar[str] = "affine"

    def decide_affine(
        self, propagator: Propagator, node: fx.Node, reading: AffineReading
    ) -> Verdict | None:
        """Compose a map with the one whose only consumer it is."""
        if reading.change.is_identity:
            return GraphPlan((Eliminated(node),))
        before = read_affine(propagator.graph, reading.source)
        if not isinstance(before, AffineReading) or consumers_of(reading.source) != {node}:
            return None
        return eliminated(node, remapped(reading.source, reading.change.after(before.change)))
