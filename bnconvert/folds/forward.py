"""A norm in front of convolutions or linear layers goes into their weights: all of them or none.

W (s x + t) + b = (W s) x + (W t + b). With zero padding the addition cannot move: at the border
it would be left out.
"""

from typing import ClassVar

from torch import fx

from bnconvert.folds.fold import Fold
from bnconvert.layers.affine import Reading, read_affine
from bnconvert.layers.plan import Plan, Vanished, together
from bnconvert.layers.way import Way


class Forward(Fold):
    """The norm, then operators that commute, then layers."""

    name: ClassVar[str] = "forward"

    def decide(self, way: Way, node: fx.Node) -> Plan | str | None:
        """Move the map down to all layers that read its result."""
        reading = read_affine(way.network, node)
        if not isinstance(reading, Reading):
            return reading
        down = way.downward(node, reading.change)
        return together((down, Plan((Vanished(node),))))
