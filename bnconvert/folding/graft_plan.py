"""Which norms a model's own modules can do without, and which weights absorb them.

Only what has a form in modules: every call of a norm's module goes into weights that are plain
parameters, and all consumers of each of them agree about it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.fixpoint import Choice
from bnconvert.folding.folds.direct import Direct
from bnconvert.folding.folds.forward import Forward
from bnconvert.folding.folds.through import Through
from bnconvert.folding.operators.graph_plan import GraphPlan, Reweighted, combined
from bnconvert.folding.operators.propagation import MapPropagator
from bnconvert.graphs.aten import NormCall, argument, names_of, norm_calls
from bnconvert.graphs.capture.parts import Part
from bnconvert.graphs.mutable_graph import MutableGraph, alike
from bnconvert.graphs.subgraphs import calls_in_regions
from bnconvert.modules.copies.copying import copy_graph
from bnconvert.modules.site import Site

_FOLDS = (Direct(), Through(), Forward())


@dataclass(frozen=True)
class GraftOutcome:
    """What a graft does with one norm.

    Attributes:
        calls: how often one forward calls it.
        fold: which fold it is; "" where it stays.
        into: the layers that absorb it.
        refusal: why it stays, or None.
    """

    calls: int
    fold: str = ""
    into: str = ""
    refusal: Refusal | None = None

    @property
    def reason(self) -> str:
        """Into what it goes, or why it stays."""
        return self.into if self.refusal is None else str(self.refusal)


@dataclass(frozen=True, eq=False)
class GraftPlan:
    """What changes in a model's modules.

    Attributes:
        weights: new tensors by the path of the parameter; a bias may be new.
        outcomes: by the path of a norm.
    """

    weights: dict[str, Tensor] = field(default_factory=dict)
    outcomes: dict[str, GraftOutcome] = field(default_factory=dict)


def plan_graft(part: Part, sites: Sequence[Site]) -> GraftPlan:
    """Decide which norms the modules can do without, and which weights absorb them.

    Args:
        part: the model or a part of it, as captured; looked at only.
        sites: the norms of the whole model.
    """
    module = copy_graph(part.captured.module)
    graph = MutableGraph(module)
    called = [*norm_calls(module), *calls_in_regions(module)]
    graph.fx_graph.eliminate_dead_code()
    waiting = _calls_by_site(called, part.path, sites)
    plan, written = GraftPlan(), set[fx.Node]()
    progress = True
    while progress:
        progress = False
        for path in list(waiting):
            found, calls = _decide(graph, waiting[path]), len(waiting[path])
            if isinstance(found, Refusal):
                plan.outcomes[path] = GraftOutcome(calls, refusal=found)
                continue
            into = f"into {found.plan.places}"
            plan.outcomes[path] = GraftOutcome(calls, found.fold.name, into)
            written |= _apply(graph, found.plan)
            del waiting[path]
            progress = True
    graph.commit()
    for node in written:
        path = f"{part.path}.{node.target}".lstrip(".")
        plan.weights[path] = module.get_parameter(str(node.target)).detach()
    return plan


def _calls_by_site(
    calls: Sequence[NormCall], prefix: str, sites: Sequence[Site]
) -> dict[str, list[NormCall]]:
    found: dict[str, list[NormCall]] = {}
    for site in sites:
        mine = [c for c in calls if f"{prefix}.{c.owner}".lstrip(".") in site.paths]
        foreign = any(call.caller not in site.paths for call in mine)
        if mine and site.kind.unsupported is None and not foreign:
            found[site.path] = mine
    return found


def _decide(graph: MutableGraph, calls: Sequence[NormCall]) -> Choice | Refusal:
    """Return the plan for all calls of one norm, or why there is none."""
    inside = [call.obstacle for call in calls if call.node.graph is not graph.fx_graph]
    if inside and inside[0] is not None:
        return inside[0]
    alive = set(graph.fx_graph.nodes)
    calls = [call for call in calls if call.node in alive]
    if not calls:
        return Refusal("unused", "nothing reads its result")
    found = [_decide_call(graph, call.node) for call in calls]
    refused = next((choice for choice in found if isinstance(choice, Refusal)), None)
    if refused is not None:
        return refused
    choices = [choice for choice in found if isinstance(choice, Choice)]
    whole = combined(choice.plan for choice in choices)
    if isinstance(whole, Refusal):
        return whole
    return _disagreement(graph, whole) or Choice(choices[-1].fold, whole)


def _decide_call(graph: MutableGraph, node: fx.Node) -> Choice | Refusal:
    refusals: list[Refusal] = []
    for fold in _FOLDS:
        verdict = fold.decide(MapPropagator(graph, tied_weights_agree=True), node)
        if isinstance(verdict, GraphPlan):
            if all(isinstance(e, Reweighted) or e.node is node for e in verdict.edits):
                return Choice(fold, verdict)
            said = f"{verdict.places} could absorb it, but not in modules"
            refusals.append(Refusal("no-module-form", said))
        elif verdict is not None:
            refusals.append(verdict)
    return refusals[0]


def _disagreement(graph: MutableGraph, plan: GraphPlan) -> Refusal | None:
    """Return why the consumers of a weight do not agree about it, or None."""
    agreed: dict[fx.Node, Reweighted] = {}
    edits = [edit for edit in plan.edits if isinstance(edit, Reweighted)]
    for edit in edits:
        for name in ("weight", "bias"):
            node = argument(edit.node, name)
            others = graph.sharers(edit.node, node) if isinstance(node, fx.Node) else set()
            if others - {other.node for other in edits}:
                return Refusal(
                    "weight-shared", f"its layer's {name} is also read by {names_of(others)}"
                )
        key = edit.node.args[1]
        assert isinstance(key, fx.Node)
        if not graph.is_parameter(key):
            return Refusal("not-a-parameter", "its layer's weight is no parameter of a module")
        if not _agree(agreed.setdefault(key, edit), edit):
            return Refusal(
                "calls-disagree", "its layer is called several times, with norms that differ"
            )
    return None


def _agree(first: Reweighted, second: Reweighted) -> bool:
    if first is second:
        return True
    same = alike(first.weight.numbers(), second.weight.numbers())
    return same and alike(first.bias, second.bias)


def _apply(graph: MutableGraph, plan: GraphPlan) -> set[fx.Node]:
    """Apply a plan that gives all consumers of a weight the same new one.

    Returns:
        The nodes of the weights and biases that were written.
    """
    written: set[fx.Node] = set()
    for edit in plan.edits:
        if not isinstance(edit, Reweighted):
            edit.apply(graph)
            continue
        weight, bias = edit.node.args[1], argument(edit.node, "bias")
        assert isinstance(weight, fx.Node)
        graph.set_constant(weight, edit.weight.numbers())
        written.add(weight)
        if edit.bias is None:
            continue
        if bias is None:
            bias = graph.bias_of_owner(weight, edit.node, edit.bias)
        graph.set_constant(bias, edit.bias)
        written.add(bias)
        edit.node.args = (*edit.node.args[:2], bias, *edit.node.args[3:])
        edit.node.kwargs = {k: v for k, v in edit.node.kwargs.items() if k != "bias"}
    return written
