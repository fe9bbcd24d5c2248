"""Which norms can vanish from a model's own modules, and which weights take them in.

Only what has a form in modules: every call of a norm's module goes into weights that are plain
parameters, and all readers of each of them agree about it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, fx

from bnconvert.folds.direct import Direct
from bnconvert.folds.forward import Forward
from bnconvert.folds.through import Through
from bnconvert.graphs.aten import NormCall, argument, names_of, norm_calls
from bnconvert.graphs.network import Network, alike
from bnconvert.graphs.parts import Part
from bnconvert.graphs.regions import calls_in_regions
from bnconvert.layers.plan import Plan, Reweighted
from bnconvert.layers.way import Way
from bnconvert.site import Site

_FOLDS = (Direct(), Through(), Forward())


@dataclass(frozen=True, eq=False)
class Graft:
    """What changes in a model's modules.

    Attributes:
        weights: new tensors by the path of the parameter; a bias may be new.
        outcomes: by the path of a norm: the fold and into what, or "" and why not.
    """

    weights: dict[str, Tensor]
    outcomes: dict[str, tuple[str, str]]


def graft_of(part: Part, sites: Sequence[Site]) -> Graft:
    """Decide which norms vanish from the modules, and which weights take them in.

    Args:
        part: the model or a part of it, not folded; its graph is rewritten.
        sites: the norms of the whole model.
    """
    module = part.captured.module
    network = Network(module)
    network.tied_layers_agree = True
    called = [*norm_calls(module), *calls_in_regions(module)]
    network.graph.eliminate_dead_code()
    calls = _calls_by_site(called, part.path, sites)
    graft = Graft({}, {})
    waiting, written = dict(calls), set[fx.Node]()
    progress = True
    while progress:
        progress = False
        for path in list(waiting):
            decided = _decide(network, waiting[path])
            if isinstance(decided, str):
                graft.outcomes[path] = "", decided
                continue
            fold, plan = decided
            graft.outcomes[path] = fold, f"into {plan.places}"
            written |= _apply(network, plan)
            del waiting[path]
            progress = True
    network.commit()
    for node in written:
        path = f"{part.path}.{node.target}".lstrip(".")
        graft.weights[path] = module.get_parameter(str(node.target)).detach()
    return graft


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


def _decide(network: Network, calls: Sequence[NormCall]) -> tuple[str, Plan] | str:
    """Return the plan for all calls of one norm, or why there is none."""
    whole, name = Plan(), ""
    inside = [call for call in calls if call.node.graph is not network.graph]
    if inside:
        return str(inside[0].obstacle)
    alive = set(network.graph.nodes)
    calls = [call for call in calls if call.node in alive]
    if not calls:
        return "nothing reads its result"
    for call in calls:
        decided = _decide_call(network, call.node)
        if isinstance(decided, str):
            return decided
        name, plan = decided
        joined = whole.with_plan(plan)
        if isinstance(joined, str):
            return joined
        whole = joined
    return _disagreement(network, whole) or (name, whole)


def _decide_call(network: Network, node: fx.Node) -> tuple[str, Plan] | str:
    refusals: list[str] = []
    for fold in _FOLDS:
        verdict = fold.decide(Way(network), node)
        if isinstance(verdict, Plan):
            if all(isinstance(e, Reweighted) or e.node is node for e in verdict.edits):
                return fold.name, verdict
            refusals.append(f"{verdict.places} could take it, but not in modules")
        elif isinstance(verdict, str):
            refusals.append(verdict)
    return refusals[0]


def _disagreement(network: Network, plan: Plan) -> str | None:
    """Return why the readers of a weight do not agree about it, or None."""
    wanted: dict[fx.Node, tuple[Tensor, Tensor | None]] = {}
    edits = [edit for edit in plan.edits if isinstance(edit, Reweighted)]
    for edit in edits:
        for name in ("weight", "bias"):
            node = argument(edit.node, name)
            others = network.sharers(edit.node, node) if isinstance(node, fx.Node) else set()
            if others - {other.node for other in edits}:
                return f"its layer's {name} is also read by {names_of(others)}"
        key = edit.node.args[1]
        assert isinstance(key, fx.Node)
        if not network.is_parameter(key):
            return "its layer's weight is no parameter of a module"
        before = wanted.setdefault(key, (edit.weight, edit.bias))
        if not all(map(alike, before, (edit.weight, edit.bias))):
            return "its layer is called several times, with norms that differ"
    return None


def _apply(network: Network, plan: Plan) -> set[fx.Node]:
    """Do a plan about which all readers agree; return the constants that it wrote."""
    written: set[fx.Node] = set()
    for edit in plan.edits:
        if not isinstance(edit, Reweighted):
            edit.apply(network)
            continue
        weight, bias = edit.node.args[1], argument(edit.node, "bias")
        assert isinstance(weight, fx.Node)
        network.store(weight, edit.weight)
        written.add(weight)
        if edit.bias is None:
            continue
        if bias is None:
            bias = network.bias_beside(weight, edit.node, edit.bias)
        network.store(bias, edit.bias)
        written.add(bias)
        edit.node.args = (*edit.node.args[:2], bias, *edit.node.args[3:])
        edit.node.kwargs = {k: v for k, v in edit.node.kwargs.items() if k != "bias"}
    return written
