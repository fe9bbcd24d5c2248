"""What a traced forward says of the norms: who calls them, and who uses their statistics."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from bnconvert.errors import Refusal
from bnconvert.modules.kinds import Kind, is_only_a_norm, kind_of
from bnconvert.modules.running_statistics import STATISTICS_NAMES
from bnconvert.modules.site import FunctionalNorm, Site, sites_in
from bnconvert.modules.tracing.forward_code import names_in_forward
from bnconvert.modules.tracing.hidden_references import hidden_references
from bnconvert.modules.tracing.unregistered import unregistered_norms

#: The functions that normalize, and where each takes the running mean.
_MEAN_POSITIONS: dict[Any, int] = {F.batch_norm: 1, torch.batch_norm: 3}
_FUNCTION_NAMES = {"batch_norm", "native_batch_norm"}
_CLASS_NAMES = {"BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm", "BatchNormAct2d"}


@dataclass(frozen=True, eq=False)
class Trace:
    """A traced forward.

    Attributes:
        graph: the graph, or None where the root's own forward cannot be traced.
        closed: path to reason, for each submodule that could not be traced; "" is the root.
        unregistered: the calls of norms that are no submodules, and which one of
            `unregistered_norms` each is; None for a norm that the forward makes.
    """

    graph: fx.Graph | None
    closed: Mapping[str, str]
    unregistered: Mapping[fx.Node, int | None] = field(default_factory=dict)

    @property
    def nodes(self) -> Iterable[fx.Node]:
        """The nodes of the graph; none where there is none."""
        return self.graph.nodes if self.graph is not None else ()

    def is_closed(self, path: str) -> bool:
        """Tell whether a module is, or lies inside, one that could not be traced."""
        return bool(self.closed) and any(outer in self.closed for outer in _with_ancestors(path))


def registered_sites(model: nn.Module, trace: Trace) -> Iterator[Site]:
    """Yield every norm of the module tree with its calls in the traced graph."""
    calls: dict[object, list[fx.Node]] = defaultdict(list)
    for node in trace.nodes:
        if node.op == "call_module":
            calls[node.target].append(node)
    sites = sites_in(model)
    holders = hidden_references(model, [site.module for site in sites])
    uses = _StatisticsUses(model, trace)
    for site in sites:
        seen = tuple(node for path in site.paths for node in calls[path])
        holder = holders.get(id(site.module))
        places = (*site.paths, holder.place if holder else site.path)
        hidden = any(map(trace.is_closed, places)) or not is_only_a_norm(site.module)
        found = replace(site, calls=seen, has_hidden_calls=hidden)
        yield replace(found, used_by=tuple(sorted(uses.of(found))))


def unregistered_sites(model: nn.Module, trace: Trace) -> tuple[list[Site], list[Site]]:
    """Return the norms that plain attributes hold: those that are called, and those that are not.

    Where the holder could not be traced, a norm counts as called.
    """
    called: list[Site] = []
    idle: list[Site] = []
    calls: dict[int | None, list[fx.Node]] = defaultdict(list)
    for node, index in trace.unregistered.items():
        calls[index].append(node)
    for place_in_order, (owner, place, norm, kind) in enumerate(unregistered_norms(model)):
        nodes = calls[place_in_order]
        hidden = trace.is_closed(owner)
        kind = replace(kind, unsupported=_unregistered(kind, norm))
        site = Site(place, (), norm, kind, model, tuple(nodes), hidden)
        (called if nodes or hidden else idle).append(site)
    return called, idle


def _unregistered(kind: Kind, norm: nn.Module) -> Refusal:
    return kind.unsupported or Refusal(
        "unregistered",
        f"is a {type(norm).__name__} in a plain attribute, which neither train(), eval() and "
        "state_dict() nor a conversion reaches",
        "hold it in an nn.ModuleList or nn.ModuleDict, or use Keep()",
    )


def functional_norms(model: nn.Module, trace: Trace) -> Iterator[FunctionalNorm]:
    """Yield the norms that are no modules: from the traced graph, and from the code elsewhere."""
    for node in trace.nodes:
        if node.op != "call_function" or node.target not in _MEAN_POSITIONS:
            continue
        owner = _caller(node)
        if node in trace.unregistered:
            if trace.unregistered[node] is None:
                yield FunctionalNorm(owner, node, is_made_there=True)
        else:
            alone = _running_mean(node) is None
            on_weight = _comes_from_parameter(node)
            yield FunctionalNorm(owner, node, on_weight=on_weight, by_batch_alone=alone)
    for path, names in _mentions_in_closed(model, trace):
        if names & _FUNCTION_NAMES:
            yield FunctionalNorm(path, None)
        if names & _CLASS_NAMES:
            yield FunctionalNorm(path, None, is_made_there=True)


class _StatisticsUses:
    """Which forwards use the statistics of norms that they do not call."""

    def __init__(self, model: nn.Module, trace: Trace) -> None:
        self.normalizing: dict[str, set[str]] = defaultdict(set)  # users, by the norm's path
        self.reading: dict[str, set[str]] = defaultdict(set)
        for node in trace.nodes:
            owner, _, name = str(node.target).rpartition(".")
            if node.op == "get_attr" and name in STATISTICS_NAMES:
                self.reading[owner].update(map(_caller, node.users))
            elif node.op == "call_function" and node.target in _MEAN_POSITIONS:
                for owner in _sources(_running_mean(node)):
                    self.normalizing[owner].add(_caller(node))
        self.by_code = {
            path
            for path, names in _mentions_in_closed(model, trace)
            if names & _FUNCTION_NAMES and "running_mean" in names
        }

    def of(self, site: Site) -> set[str]:
        """Return the paths of the modules that normalize by a norm's statistics themselves."""
        found: set[str] = set()
        for path in site.paths:
            found |= self.normalizing[path]
            if not site.calls:  # who calls it too may read them for something else
                found |= set() if site.has_hidden_calls else self.reading[path]
                found |= self.by_code.intersection(_with_ancestors(path))
        return found


def _mentions_in_closed(model: nn.Module, trace: Trace) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield what the forwards mention of all modules, but norms, that could not be traced."""
    if not trace.closed:
        return
    for path, module in model.named_modules():
        if trace.is_closed(path) and (kind_of(module) is None or not is_only_a_norm(module)):
            yield path, names_in_forward(module)


def _with_ancestors(path: str) -> Iterator[str]:
    """Yield a path and those of the modules that it lies inside of; the last is "", the root."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


def _caller(node: fx.Node) -> str:
    """Return the path of the module whose forward calls an operator."""
    stack = node.meta.get("nn_module_stack") or {"": ("", None)}
    return str(list(stack.values())[-1][0])


def _sources(value: object) -> Iterator[str]:
    """Yield the owners of the stored tensors that a value is computed from."""
    pending, seen = [value], set[object]()
    while pending:
        node = pending.pop()
        if isinstance(node, fx.Node) and node not in seen:
            seen.add(node)
            if node.op == "get_attr":
                yield str(node.target).rpartition(".")[0]
            pending.extend(node.all_input_nodes)


def _running_mean(node: fx.Node) -> Any:
    """Return the running mean that a functional norm is given."""
    position = _MEAN_POSITIONS[node.target]
    return node.args[position] if len(node.args) > position else node.kwargs.get("running_mean")


def _comes_from_parameter(node: fx.Node) -> bool:
    """Tell whether a call normalizes a (reshaped) parameter, as weight standardization does."""
    argument = node.args[0] if node.args else node.kwargs.get("input")
    while isinstance(argument, fx.Node) and argument.op != "get_attr" and argument.args:
        argument = argument.args[0]
    return isinstance(argument, fx.Node) and argument.op == "get_attr"
