"""A captured model, or a part of one, folded: its graph, and the outcome of its norm calls."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import fx

from bnconvert.folding.fixpoint import fold_graph, outcomes_in
from bnconvert.folding.outcome import NormOutcome
from bnconvert.graphs.aten import NormCall, norm_calls, standardizes_weight
from bnconvert.graphs.capture.parts import Part
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.graphs.subgraphs import calls_in_regions
from bnconvert.modules.copies.copying import copy_graph
from bnconvert.modules.folded_module import FoldedModule


@dataclass(frozen=True, eq=False)
class PartOutcomes:
    """What folding does with a part.

    Attributes:
        path: where the part is; "" for the model.
        outcomes: of its norm calls.
        notes: what to know of it.
    """

    path: str
    outcomes: Sequence[NormOutcome]
    notes: Sequence[str]

    @classmethod
    def foreseen(cls, part: Part) -> "PartOutcomes":
        """Decide what folding would do; no weight is computed.

        Args:
            part: of no use afterwards, as `outcomes_in` says.
        """
        module = part.captured.module
        calls = _Calls(part, module)
        return calls.outcomes(outcomes_in(MutableGraph(module), calls.of_norms))


@dataclass(frozen=True, eq=False)
class FoldedPart(PartOutcomes):
    """A folded part.

    Attributes:
        module: its graph, folded.
    """

    module: FoldedModule

    @classmethod
    def of(cls, part: Part) -> "FoldedPart":
        """Fold a copy of what was captured."""
        module = copy_graph(part.captured.module)
        calls = _Calls(part, module)
        found = calls.outcomes(fold_graph(MutableGraph(module), calls.of_norms))
        return cls(found.path, found.outcomes, found.notes, FoldedModule.of(module))


class _Calls:
    """The norm calls of a part before it is folded."""

    def __init__(self, part: Part, module: fx.GraphModule) -> None:
        """Find them in a copy of its graph."""
        self._part = part
        self._weights = sum(standardizes_weight(node) for node in module.graph.nodes)
        self.of_norms = [_from_the_root(call, part.path) for call in norm_calls(module)]
        self._inside = [_from_the_root(call, part.path) for call in calls_in_regions(module)]

    def outcomes(self, found: Sequence[NormOutcome]) -> PartOutcomes:
        """Return the outcomes of all calls, also of those that no fold sees."""
        inside = [NormOutcome(call, upstream=call.obstacle) for call in self._inside]
        notes = [*self._part.captured.notes, *_standardization(self._weights)]
        return PartOutcomes(self._part.path, [*found, *inside], notes)


def _from_the_root(call: NormCall, path: str) -> NormCall:
    return replace(call, owner=f"{path}.{call.owner}".strip(".")) if path else call


def _standardization(count: int) -> Iterator[str]:
    if count:
        yield (
            f"{count} batch norm operators standardize weights, not activations: they are no "
            "norms, and the weights are constants now"
        )
