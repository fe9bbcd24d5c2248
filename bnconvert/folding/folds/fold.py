"""The protocol of a fold: decide about one operator; whoever asked applies the plan."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.affine import AffineReading, read_affine
from bnconvert.folding.operators.graph_plan import Eliminated, GraphPlan, Verdict, combined
from bnconvert.folding.operators.operator_rule import Propagator

#: Where a fold looks for layers: what a refusal is about.
Direction = Literal["upstream", "downstream"]


class Fold(ABC):
    """One way to eliminate an operator, or to leave less of it."""

    #: What the report calls it.
    name: ClassVar[str]
    #: Where it looks for layers.
    direction: ClassVar[Direction] = "upstream"

    @abstractmethod
    def decide(self, propagator: Propagator, node: fx.Node) -> Verdict | None:
        """Return the plan or the refusal; None where the fold is not about `node`. Looks only."""


class AffineFold(Fold):
    """A fold of operators that are a scale and a shift, such as norms in eval mode."""

    def decide(self, propagator: Propagator, node: fx.Node) -> Verdict | None:
        """Read the operator as a scale and a shift, and decide about that."""
        reading = read_affine(propagator.graph, node)
        if not isinstance(reading, AffineReading):
            return reading
        return self.decide_affine(propagator, node, reading)

    @abstractmethod
    def decide_affine(
        self, propagator: Propagator, node: fx.Node, reading: AffineReading
    ) -> Verdict | None:
        """Return the plan or the refusal for `node`, which is `reading`."""


def eliminated(node: fx.Node, absorbed: Verdict) -> Verdict:
    """Return the plan that absorbs what an operator does, with the operator taken out."""
    if isinstance(absorbed, Refusal):
        return absorbed
    return combined((absorbed, GraphPlan((Eliminated(node),))))
