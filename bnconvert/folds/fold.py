"""The protocol of a fold: decide about one operator; whoever asked applies the plan."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import fx

from bnconvert.layers.plan import Plan
from bnconvert.layers.way import Way


class Fold(ABC):
    """One way to make an operator vanish, or to leave less of it."""

    #: What the report calls it.
    name: ClassVar[str]

    @abstractmethod
    def decide(self, way: Way, node: fx.Node) -> Plan | str | None:
        """Return the plan, or why there is none; None where the fold is not about `node`."""
