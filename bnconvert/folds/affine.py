"""Maps in a row become one: s (s' x + t') + t = (s s') x + (s t' + t). An identity vanishes."""

from typing import ClassVar

from torch import fx

from bnconvert.folds.fold import Fold
from bnconvert.graphs.aten import readers_of
from bnconvert.layers.affine import Reading, read_affine
from bnconvert.layers.plan import Plan, Remapped, Vanished
from bnconvert.layers.way import Way


class Affine(Fold):
    """Chains of norms, constant factors and constant summands."""

    name: ClassVar[str] = "affine"

    def decide(self, way: Way, node: fx.Node) -> Plan | str | None:
        """Merge a map with the one whose only reader it is."""
        reading = read_affine(way.network, node)
        if not isinstance(reading, Reading):
            return reading
        if reading.change.is_identity:
            return Plan((Vanished(node),))
        before = read_affine(way.network, reading.source)
        if not isinstance(before, Reading) or readers_of(reading.source) != {node}:
            return None
        composed = reading.change.after(before.change)
        if not composed.is_finite:
            return "the two maps in a row overflow"
        return Plan((Remapped(reading.source, composed), Vanished(node)))
