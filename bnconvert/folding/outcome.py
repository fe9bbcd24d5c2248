"""The outcome of each norm call: into what it was folded, or why it, or a part of it, stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import fx

from bnconvert.errors import Refusal
from bnconvert.folding.folds.fold import Direction, Fold
from bnconvert.folding.operators.graph_plan import GraphPlan, Remapped, Replacements
from bnconvert.graphs.aten import NormCall

Part = Literal["", "multiplication", "addition"]


@dataclass(frozen=True)
class NormOutcome:
    """What folding did with one call of a norm.

    Attributes:
        call: the call.
        fold: the name of the fold that took it, or a part of it; "" where none did.
        into: where it, or that part, went.
        left: the part that stands, where the other one was folded.
        upstream: why it, or what is left of it, does not go into a producer.
        downstream: why it does not go into the consumers.
    """

    call: NormCall
    fold: str = ""
    into: str = ""
    left: Part = ""
    upstream: Refusal | None = None
    downstream: Refusal | None = None

    @property
    def is_folded(self) -> bool:
        """Whether nothing of the norm is left."""
        return bool(self.fold) and not self.left

    @property
    def outcome(self) -> str:
        """The outcome in a word."""
        return "folded" if self.is_folded else "standing"

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Why it stands, upstream first."""
        found = () if self.is_folded else (self.upstream, self.downstream)
        return tuple(dict.fromkeys(refusal for refusal in found if refusal is not None))

    @property
    def reason(self) -> str:
        """Into what it was folded, or why it stands."""
        if self.is_folded:
            return self.into
        said = {refusal: str(refusal) for refusal in self.refusals}
        if self.downstream is not None and self.downstream != self.upstream:
            said[self.downstream] = f"downstream: {self.downstream}"
        why = "; ".join(said.values())
        if not self.left:
            return why
        done = "addition" if self.left == "multiplication" else "multiplication"
        return f"its {done} is folded, {self.into}; its {self.left} stands: {why}"


class Ledger:
    """Keeps the outcome of each norm call while folds move it from operator to operator.

    Attributes:
        outcomes: one for each call, in the order of the calls.
    """

    def __init__(self, outcomes: Sequence[NormOutcome]) -> None:
        """Begin with what is known before any fold is tried."""
        self.outcomes = list(outcomes)
        #: Which calls an operator stands for: its own, and those composed with it.
        self._held: dict[fx.Node, tuple[int, ...]] = {
            found.call.node: (index,) for index, found in enumerate(outcomes)
        }

    @property
    def operators(self) -> set[fx.Node]:
        """The operators that stand for a norm, or for arithmetic that a norm was composed with."""
        return {node for node, calls in self._held.items() if calls}

    def note_refusals(self, node: fx.Node, refusals: Mapping[Direction, Refusal]) -> None:
        """Keep why no fold takes an operator."""
        for index in self._held.get(node, ()):
            if not self.outcomes[index].is_folded:
                self.outcomes[index] = replace(
                    self.outcomes[index],
                    upstream=refusals.get("upstream"),
                    downstream=refusals.get("downstream"),
                )

    def note_plan(self, node: fx.Node, fold: Fold, plan: GraphPlan) -> None:
        """Keep what a plan for an operator does to the calls that it stands for."""
        moved: tuple[int, ...] = tuple(
            i for removed in plan.removes for i in self._held.pop(removed, ())
        )
        for index in moved:
            self.outcomes[index] = NormOutcome(self.outcomes[index].call, fold.name, _into(plan))
        for edit in plan.edits:
            if not isinstance(edit, Remapped):
                continue
            if moved:  # and they may go on from there
                self._held[edit.node] = (*self._held.get(edit.node, ()), *moved)
            elif edit.node is node:
                left: Part = "addition" if edit.change.shifts else "multiplication"
                for index in self._held.get(node, ()):
                    self.outcomes[index] = replace(
                        self.outcomes[index], fold=fold.name, into=_into(plan, node), left=left
                    )

    def follow(self, replaced: Replacements) -> None:
        """Go on with the successors of operators."""
        for node, successor in replaced.items():
            self._held[successor] = self._held.pop(node, ())


def _into(plan: GraphPlan, without: fx.Node | None = None) -> str:
    places = GraphPlan(tuple(edit for edit in plan.edits if edit.node is not without)).places
    text = f"into {places}" if places else "it changes nothing"
    return ", ".join((text, *dict.fromkeys(plan.remarks)))
