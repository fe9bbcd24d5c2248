"""A norm behind what commutes with it moves up to the layers that made the values.

Concatenation divides it among the branches, a sum scales all summands and shifts one, averages,
resizing, reflection, shuffling and views let it pass, maxima and ReLU only some of it. All
branches must end in a layer that takes its share, or nothing moves.
"""

from typing import ClassVar

from torch import fx

from bnconvert.folds.fold import Fold
from bnconvert.layers.affine import Reading, read_affine
from bnconvert.layers.plan import Plan, Vanished, together
from bnconvert.layers.way import Way


class Through(Fold):
    """Layers, then operators that commute, then the norm."""

    name: ClassVar[str] = "through"

    def decide(self, way: Way, node: fx.Node) -> Plan | str | None:
        """Move the map up to the layers that made what it maps."""
        reading = read_affine(way.network, node)
        if not isinstance(reading, Reading):
            return reading
        up = way.upward(reading.source, node, reading.change)
        return together((up, Plan((Vanished(node),))))
