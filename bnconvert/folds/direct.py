"""A norm straight behind a convolution or a linear layer goes into its weights."""

from typing import ClassVar

from torch import fx

from bnconvert.folds.fold import Fold
from bnconvert.layers.affine import Reading, read_affine
from bnconvert.layers.plan import Plan, Vanished, together
from bnconvert.layers.way import WEIGHTED, Way, layer_of


class Direct(Fold):
    """Layer, then norm: y = s (W x + b) + t = (s W) x + (s b + t)."""

    name: ClassVar[str] = "direct"

    def decide(self, way: Way, node: fx.Node) -> Plan | str | None:
        """Fold into the layer whose output `node` maps."""
        reading = read_affine(way.network, node)
        if not isinstance(reading, Reading):
            return reading
        if not isinstance(layer_of(way.network, reading.source), WEIGHTED):
            return None
        up = way.upward(reading.source, node, reading.change)
        return together((up, Plan((Vanished(node),))))
