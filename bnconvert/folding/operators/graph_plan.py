"""A graph plan: the edits of operators after which a scale and a shift need not be computed."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.graphs.aten import aten, describe
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.channel_map import ChannelMap
from bnconvert.numerics.factored import Factored
from bnconvert.reporting.table import listed

#: Operators that were replaced, and what computes their value now.
Replacements = Mapping[fx.Node, fx.Node]


@dataclass(frozen=True, eq=False)
class Edit(ABC):
    """One operator that changes.

    Attributes:
        node: the operator.
    """

    node: fx.Node

    @property
    def removes(self) -> tuple[fx.Node, ...]:
        """The operators that the graph does not hold afterwards."""
        return ()

    @abstractmethod
    def apply(self, graph: MutableGraph) -> Replacements:
        """Do it; return which operators have a successor in the graph."""


@dataclass(frozen=True, eq=False)
class Reweighted(Edit):
    """A layer with another weight and bias, in float64."""

    weight: Factored
    bias: Tensor | None

    def apply(self, graph: MutableGraph) -> Replacements:
        """Give them to the layer."""
        graph.set_weights(self.node, self.weight, self.bias)
        return {}


@dataclass(frozen=True, eq=False)
class Remapped(Edit):
    """An affine operator with another scale and shift."""

    change: ChannelMap

    def apply(self, graph: MutableGraph) -> Replacements:
        """Put an operator with the new ones in its place."""
        return {self.node: graph.replace_by_map(self.node, _mapped_by(self.node), self.change)}


@dataclass(frozen=True, eq=False)
class Repadded(Edit):
    """A constant padding with another value."""

    value: float

    def apply(self, graph: MutableGraph) -> Replacements:
        """Set the value."""
        mode = ("constant",) if self.node.target is aten.pad.default else ()
        self.node.args = (*self.node.args[:2], *mode, self.value)
        self.node.kwargs = {}
        return {}


@dataclass(frozen=True, eq=False)
class Eliminated(Edit):
    """An affine operator that is not needed any more: its consumers read what it read."""

    @property
    def removes(self) -> tuple[fx.Node, ...]:
        """The operator itself."""
        return (self.node,)

    def apply(self, graph: MutableGraph) -> Replacements:
        """Take it out."""
        graph.replace(self.node, _mapped_by(self.node))
        return {}


def _mapped_by(node: fx.Node) -> fx.Node:
    """Return what an affine operator maps now: an earlier edit may have replaced it."""
    inputs = node.all_input_nodes
    return next((value for value in inputs if value.op != "get_attr"), inputs[0])


@dataclass(frozen=True, eq=False)
class GraphPlan:
    """What changes so that a scale and a shift are absorbed.

    Attributes:
        edits: at most one for each operator.
        remarks: what to know of it, such as a weight that is copied.
    """

    edits: tuple[Edit, ...] = ()
    remarks: tuple[str, ...] = ()

    def with_plan(self, other: "GraphPlan") -> "Verdict":
        """Return both together, or the refusal where both edit one operator."""
        return combined((self, other))

    def apply(self, graph: MutableGraph) -> Replacements:
        """Do all edits; return which operators have a successor in the graph."""
        replaced: dict[fx.Node, fx.Node] = {}
        for edit in self.edits:
            replaced |= edit.apply(graph)
        return replaced

    @property
    def places(self) -> str:
        """The operators that stay and change, in words."""
        return listed([describe(e.node) for e in self.edits if e.node not in e.removes])

    @property
    def removes(self) -> tuple[fx.Node, ...]:
        """The operators that the graph does not hold afterwards."""
        return tuple(node for edit in self.edits for node in edit.removes)


#: What a fold or an operator rule decides.
Verdict = GraphPlan | Refusal


def combined(plans: Iterable[Verdict]) -> Verdict:
    """Return all plans as one, or the first refusal, of one of them or of all together."""
    edits: dict[fx.Node, Edit] = {}
    remarks: list[str] = []
    for plan in plans:
        if isinstance(plan, Refusal):
            return plan
        for edit in plan.edits:
            if edit.node in edits:
                return Refusal(
                    "paths-meet", f"two paths from it meet again at {describe(edit.node)}"
                )
            edits[edit.node] = edit
        remarks += plan.remarks
    return GraphPlan(tuple(edits.values()), tuple(remarks))
