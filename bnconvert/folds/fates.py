"""What becomes of every norm: all folds run to a fixed point, and it is written down."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import fx

from bnconvert.folds import FOLDS
from bnconvert.folds.constants import compute_constants
from bnconvert.folds.fold import Fold
from bnconvert.graphs.aten import NormCall
from bnconvert.graphs.forms import lower_to_operators, raise_to_layers
from bnconvert.graphs.network import Network
from bnconvert.layers.plan import Plan, Remapped
from bnconvert.layers.way import Way


@dataclass(frozen=True)
class Fate:
    """What became of one call of a norm.

    Attributes:
        call: the call.
        outcome: "folded" or "standing".
        fold: the fold's name; "" where none was done.
        reason: into what, or why not.
    """

    call: NormCall
    outcome: str = "standing"
    fold: str = ""
    reason: str = ""


def fold_network(
    network: Network, calls: Sequence[NormCall], folds: Sequence[Fold] = FOLDS
) -> list[Fate]:
    """Fold everything that can be, in place; return what became of each norm."""
    network.graph.eliminate_dead_code()
    read = set(network.graph.nodes)
    compute_constants(network)
    raise_to_layers(network)
    left = set(network.graph.nodes)
    fates = [_first_fate(call, call.node in read, call.node in left) for call in calls]
    for index, call in enumerate(calls):
        network.carried[call.node] = (index,)
    rounds = _Rounds(network, folds, fates)
    while rounds.pass_once():
        pass
    lower_to_operators(network)
    network.commit()
    return rounds.fates


def _first_fate(call: NormCall, read: bool, left: bool) -> Fate:
    if not read:
        return Fate(call, "folded", "unread", "nothing reads its result")
    if not left:
        return Fate(call, "folded", "constants", "its input is a constant, and so is its result")
    return Fate(call)


class _Rounds:
    """Passes over the graph until nothing changes: a fold may make way for the next."""

    def __init__(self, network: Network, folds: Sequence[Fold], fates: list[Fate]) -> None:
        self.network = network
        self.folds = folds
        self.fates = fates

    def pass_once(self) -> bool:
        """Try every fold on every operator once; tell whether any was done."""
        changed = False
        gone: set[fx.Node] = set()
        for node in list(self.network.graph.nodes):
            if node in gone or node.op != "call_function":
                continue
            plan = self._decide(node)
            while plan is not None:
                changed = True
                gone.update(plan.removes)
                gone.update(e.node for e in plan.edits if isinstance(e, Remapped))
                plan = None if node in gone else self._decide(node)
        return changed

    def _decide(self, node: fx.Node) -> Plan | None:
        """Do the first fold that may be done on an operator; else note why none may."""
        refusals: dict[str, str] = {}
        way = Way(self.network)
        for fold in self.folds:
            verdict = fold.decide(way, node)
            if isinstance(verdict, Plan):
                self._note_plan(node, fold, verdict)
                verdict.apply(self.network)
                return verdict
            if isinstance(verdict, str):
                refusals[fold.name] = verdict
        for index in self.network.carried.get(node, ()):
            fate = self.fates[index]
            if not fate.fold or fate.outcome == "standing":
                self.fates[index] = replace(fate, reason=_reason(fate, refusals))
        return None

    def _note_plan(self, node: fx.Node, fold: Fold, plan: Plan) -> None:
        carried = self.network.carried
        moved: tuple[int, ...] = ()
        for removed in plan.removes:
            moved += carried.get(removed, ())
        for index in moved:
            self.fates[index] = Fate(self.fates[index].call, "folded", fold.name, _into(plan))
        for edit in plan.edits:
            if isinstance(edit, Remapped) and moved:  # and it may go on from there
                carried[edit.node] = (*carried.get(edit.node, ()), *moved)
        for edit in plan.edits:
            if isinstance(edit, Remapped) and edit.node is node and not moved:
                left = "addition" if edit.change.shifts else "multiplication"
                done = "multiplication" if edit.change.shifts else "addition"
                text = f"its {done} is gone, {_into(plan, node)}; its {left} stays: "
                for index in carried.get(node, ()):
                    self.fates[index] = replace(self.fates[index], fold=fold.name, reason=text)


def _into(plan: Plan, without: fx.Node | None = None) -> str:
    edits = tuple(edit for edit in plan.edits if edit.node is not without)
    places = Plan(edits).places
    text = f"into {places}" if places else "it changes nothing"
    return ", ".join((text, *dict.fromkeys(plan.remarks)))


def _reason(fate: Fate, refusals: dict[str, str]) -> str:
    """Return why a norm stands: what is behind it and what is in front of it."""
    up = refusals.get("direct") or refusals.get("through") or refusals.get("affine", "")
    down = refusals.get("forward", "")
    reason = f"{up}; in front of it: {down}" if down and down != up else up
    partly = fate.reason.partition("stays: ")
    return f"{partly[0]}stays: {reason}" if partly[1] else reason
