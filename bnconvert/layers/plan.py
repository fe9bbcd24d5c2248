"""A plan: which tensors of which operators change so that a map need not be computed."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, fx

from bnconvert.graphs.aten import aten, describe
from bnconvert.graphs.network import Network
from bnconvert.numerics.channel_map import ChannelMap


@dataclass(frozen=True, eq=False)
class Edit(ABC):
    """One operator that changes.

    Attributes:
        node: the operator.
    """

    node: fx.Node

    @property
    def removes(self) -> tuple[fx.Node, ...]:
        """The operators that are gone afterwards."""
        return ()

    @abstractmethod
    def apply(self, network: Network) -> None:
        """Do it."""


@dataclass(frozen=True, eq=False)
class Reweighted(Edit):
    """A layer with another weight and bias, in float64."""

    weight: Tensor
    bias: Tensor | None

    def apply(self, network: Network) -> None:
        """Give them to the layer."""
        network.give(self.node, self.weight, self.bias)


@dataclass(frozen=True, eq=False)
class Remapped(Edit):
    """An affine operator with another map."""

    change: ChannelMap

    def apply(self, network: Network) -> None:
        """Put the new map in its place."""
        network.mapped(self.node, _mapped_by(self.node), self.change)


@dataclass(frozen=True, eq=False)
class Repadded(Edit):
    """A constant padding with another value."""

    value: float

    def apply(self, network: Network) -> None:
        """Set the value."""
        mode = ("constant",) if self.node.target is aten.pad.default else ()
        self.node.args = (*self.node.args[:2], *mode, self.value)
        self.node.kwargs = {}


@dataclass(frozen=True, eq=False)
class Vanished(Edit):
    """An affine operator that is not needed any more: who read it reads what it read."""

    @property
    def removes(self) -> tuple[fx.Node, ...]:
        """The operator itself."""
        return (self.node,)

    def apply(self, network: Network) -> None:
        """Take it out."""
        network.replace(self.node, _mapped_by(self.node))


def _mapped_by(node: fx.Node) -> fx.Node:
    """Return what an affine operator maps now: the edit before may have replaced it."""
    inputs = node.all_input_nodes
    return next((value for value in inputs if value.op != "get_attr"), inputs[0])


@dataclass(frozen=True, eq=False)
class Plan:
    """What changes so that a map vanishes.

    Attributes:
        edits: at most one for each operator.
        remarks: what to know of it, such as a weight that is copied.
    """

    edits: tuple[Edit, ...] = ()
    remarks: tuple[str, ...] = ()

    def with_plan(self, other: "Plan") -> "Plan | str":
        """Return both together, or why they do not go together."""
        taken = {edit.node for edit in self.edits}
        for edit in other.edits:
            if edit.node in taken:
                return f"its ways meet again at {describe(edit.node)}"
        return Plan((*self.edits, *other.edits), (*self.remarks, *other.remarks))

    def apply(self, network: Network) -> None:
        """Do all edits."""
        for edit in self.edits:
            edit.apply(network)

    @property
    def places(self) -> str:
        """The operators that stay and change, in words."""
        names = [describe(edit.node) for edit in self.edits if edit.node not in edit.removes]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    @property
    def removes(self) -> tuple[fx.Node, ...]:
        """The operators that are gone afterwards."""
        return tuple(node for edit in self.edits for node in edit.removes)


def together(plans: Iterable[Plan | str]) -> Plan | str:
    """Return all plans as one, or the first reason why one of them, or all together, cannot be."""
    whole = Plan()
    for plan in plans:
        joined = plan if isinstance(plan, str) else whole.with_plan(plan)
        if isinstance(joined, str):
            return joined
        whole = joined
    return whole
