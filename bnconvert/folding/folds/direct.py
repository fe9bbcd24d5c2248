"""A norm straight after a convolution or a linear layer goes into its weights."""

from typing import ClassVar

from torch import fx

from bnconvert.folding.folds.fold import AffineFold, eliminated
from bnconvert.folding.operators.affine import AffineReading
from bnconvert.folding.operators.graph_plan import Verdict
from bnconvert.folding.operators.operator_rule import Propagator
from bnconvert.folding.operators.propagation import rule_of
from bnconvert.folding.operators.weighted_rule import WeightedRule


class Direct(AffineFold):
    """Layer, then norm: y = s (W x + b) + t = (s W) x + (s b + t)."""

    name: ClassVar[str] = "direct"

    def decide_affine(
        self, propagator: Propagator, node: fx.Node, reading: AffineReading
    ) -> Verdict | None:
        """Fold into the layer whose output `node` scales and shifts."""
        if not isinstance(rule_of(propagator.graph, reading.source), WeightedRule):
            return None
        return eliminated(node, propagator.into_producer(reading.source, node, reading.change))
