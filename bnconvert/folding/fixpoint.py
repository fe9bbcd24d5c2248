"""All folds, tried on every operator until nothing changes; each norm call has an outcome then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import fx

from bnconvert.errors import Refusal
from bnconvert.folding.constants import compute_constants
from bnconvert.folding.folds import FOLDS
from bnconvert.folding.folds.fold import Direction, Fold
from bnconvert.folding.operators.graph_plan import GraphPlan
from bnconvert.folding.operators.operator_rule import Propagator
from bnconvert.folding.operators.propagation import MapPropagator
from bnconvert.folding.outcome import Ledger, NormOutcome
from bnconvert.folding.postcondition import interface_of, require_sound
from bnconvert.graphs.aten import NormCall
from bnconvert.graphs.canonical_forms import rewrite_maps_as_operators, rewrite_products_as_linear
from bnconvert.graphs.mutable_graph import MutableGraph


def fold_graph(
    graph: MutableGraph, calls: Sequence[NormCall], folds: Sequence[Fold] = FOLDS
) -> list[NormOutcome]:
    """Apply folds in place until none applies any more; return the outcome of each norm call.

    Args:
        graph: of which no norm call in `calls` was rewritten yet.
        calls: the norms to account for.
        folds: what is tried, in this order.
    """
    interface = interface_of(graph.module)
    ledger = _apply_folds(graph, calls, folds)
    rewrite_maps_as_operators(graph, ledger.operators)
    graph.commit()
    require_sound(graph.module, interface, ledger.outcomes)
    return ledger.outcomes


def outcomes_in(graph: MutableGraph, calls: Sequence[NormCall]) -> list[NormOutcome]:
    """Return what `fold_graph` would, without computing any weight.

    Args:
        graph: of no use afterwards: its operators are rewritten, its weights are not.
        calls: as for `fold_graph`.
    """
    return _apply_folds(graph, calls, FOLDS).outcomes


def _apply_folds(graph: MutableGraph, calls: Sequence[NormCall], folds: Sequence[Fold]) -> Ledger:
    """Apply folds until none applies any more; the weights that they change are still factors."""
    graph.fx_graph.eliminate_dead_code()
    used = set(graph.fx_graph.nodes)
    compute_constants(graph)
    rewrite_products_as_linear(graph)
    left = set(graph.fx_graph.nodes)
    ledger = Ledger([_before_folds(call, call.node in used, call.node in left) for call in calls])
    refused_by: dict[fx.Node, fx.Node] = {}
    while _pass_once(graph, folds, ledger, refused_by):
        pass
    return ledger


def _before_folds(call: NormCall, used: bool, left: bool) -> NormOutcome:
    if not used:
        return NormOutcome(call, "unused", "nothing reads its result")
    if not left:
        return NormOutcome(call, "constants", "its input is a constant, and so is its result")
    return NormOutcome(call)


def _pass_once(
    graph: MutableGraph,
    folds: Sequence[Fold],
    ledger: Ledger,
    refused_by: dict[fx.Node, fx.Node],
) -> bool:
    """Fold every operator as often as it can be; tell whether any was.

    Args:
        graph: changed in place.
        folds: what is tried, in this order.
        ledger: where the outcomes are noted.
        refused_by: as for `MapPropagator`, kept from operator to operator.
    """
    stale: set[fx.Node] = set()
    changed = False
    for node in [n for n in graph.fx_graph.nodes if n.op == "call_function"]:
        while node not in stale:
            found = decide(MapPropagator(graph, refused_by=refused_by), node, folds)
            if not isinstance(found, Choice):
                ledger.note_refusals(node, found)
                break
            ledger.note_plan(node, found.fold, found.plan)
            replaced = found.plan.apply(graph)
            ledger.follow(replaced)
            stale.update(found.plan.removes, replaced)
            changed = True
    return changed


@dataclass(frozen=True, eq=False)
class Choice:
    """A fold that may be done.

    Attributes:
        fold: which.
        plan: what it does.
    """

    fold: Fold
    plan: GraphPlan


def decide(
    propagator: Propagator, node: fx.Node, folds: Sequence[Fold]
) -> Choice | Mapping[Direction, Refusal]:
    """Return the first fold that may be done on an operator, or why none may. Looks only."""
    refusals: dict[Direction, Refusal] = {}
    for fold in folds:
        verdict = fold.decide(propagator, node)
        if isinstance(verdict, GraphPlan):
            return Choice(fold, verdict)
        if verdict is not None:
            refusals.setdefault(fold.direction, verdict)
    return refusals
