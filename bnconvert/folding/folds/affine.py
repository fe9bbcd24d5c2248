"""Maps in a row become one: s (s' x + t') + t = (s s') x + (s t' + t); identities are removed."""

from typing import ClassVar

from torch import fx

from bnconvert.folding.folds.fold import AffineFold, eliminated
from bnconvert.folding.operators.affine import AffineReading, plan_new_map, read_affine
from bnconvert.folding.operators.graph_plan import Eliminated, GraphPlan, Verdict
from bnconvert.folding.operators.operator_rule import Propagator
from bnconvert.graphs.aten import consumers_of


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
        return eliminated(node, plan_new_map(reading.source, reading.change.after(before.change)))
