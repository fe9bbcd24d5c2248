"""`survey`: find all norms of a model and trace their calls by torch.fx, as far as it goes."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.parallel import DataParallel, DistributedDataParallel

from bnconvert.errors import UnsupportedModelError, first_line
from bnconvert.modules.copying import copy_sharing_parameters
from bnconvert.modules.kinds import kind_of
from bnconvert.modules.preserving import preserved
from bnconvert.modules.sharding import why_sharded
from bnconvert.modules.site import FunctionalNorm, Site, Survey, sites_in
from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.torch_private.compilation import is_compiled

_FUNCTIONAL = (F.batch_norm, torch.batch_norm)


def survey(model: nn.Module) -> Survey:
    """Find every batch norm of `model`, and trace where its forward calls it.

    The trace runs on a deep copy that shares the parameters, because tracing leaves proxies in
    the caches of some models. A submodule that cannot be traced is one call in the graph, and
    its reason is noted; where the root itself cannot be traced, only the module tree is read.

    Raises:
        UnsupportedModelError: `model` is wrapped, compiled or scripted, or no module at all.
    """
    require_eager(model)
    graph, untraceable = _trace(model)
    scripted = tuple(scripted_paths(model))
    sites = tuple(_sites(model, graph, untraceable))
    return Survey(model, graph, sites, untraceable, scripted, tuple(_functional_norms(graph)))


def scripted_paths(module: nn.Module, path: str = "") -> Iterator[str]:
    """Yield the paths of the outermost TorchScript modules below a module at `path`."""
    if isinstance(module, torch.jit.ScriptModule):
        yield path
        return
    for name, child in module.named_children():
        yield from scripted_paths(child, f"{path}.{name}".lstrip("."))


def require_eager(model: object) -> None:
    """Raise unless `model` is an eager, unwrapped module, whole in this process.

    Raises:
        UnsupportedModelError: it says how to unwrap the model.
    """
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(
            f"a {type(model).__name__} is not a torch.nn.Module; give the module itself"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise UnsupportedModelError(
            "the model is TorchScript, whose modules cannot be replaced; "
            "give the eager model that it was scripted from"
        )
    if is_compiled(model):
        raise UnsupportedModelError(
            "the model is wrapped by torch.compile; give model._orig_mod and compile the result"
        )
    if isinstance(model, DistributedDataParallel | DataParallel):
        raise UnsupportedModelError(
            f"the model is wrapped by {type(model).__name__}; give model.module and wrap the result"
        )
    if reason := why_sharded(model):
        raise UnsupportedModelError(reason)


class NormTracer(fx.Tracer):
    """An fx tracer for which norms are leaves, and submodules that it cannot trace are too.

    Attributes:
        untraceable: path to reason, for each submodule that could not be traced.
    """

    def __init__(self) -> None:
        """Create a tracer that has traced nothing yet."""
        super().__init__()
        self.untraceable: dict[str, str] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Tell whether a module is one call in the graph: norms, and what torch.fx says."""
        return (
            kind_of(m) is not None
            or isinstance(m, torch.jit.ScriptModule)
            or super().is_leaf_module(m, module_qualified_name)
        )

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Trace into `m`; where that fails, remove its nodes and record one call instead."""
        last, stack = next(iter(reversed(self.graph.nodes))), self.module_stack.copy()
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception as failure:
            path = self.path_of_module(m)
            self.module_stack = stack
            for node in reversed(list(_nodes_after(last))):
                self.graph.erase_node(node)
            self.untraceable = {
                inner: why
                for inner, why in self.untraceable.items()
                if not inner.startswith(f"{path}.")
            }
            self.untraceable[path] = first_line(failure)
            return self.create_proxy("call_module", path, args, kwargs)


def _trace(model: nn.Module) -> tuple[fx.Graph | None, dict[str, str]]:
    """Trace a copy of the model; return the graph, and what could not be traced."""
    tracer = NormTracer()
    if kind_of(model) is not None:
        return None, {"": "the model is itself a norm"}
    if "forward" in vars(model):
        return None, {"": "its forward is replaced on the object, which torch.fx does not see"}
    try:
        copy = copy_sharing_parameters(model)
        # A forward may draw numbers while it is traced, and put proxies anywhere.
        with preserved_random_state(), preserved(model):
            graph = tracer.trace(copy)
    except Exception as failure:
        return None, {"": first_line(failure)}
    return graph, tracer.untraceable


def _sites(
    model: nn.Module, graph: fx.Graph | None, untraceable: Mapping[str, str]
) -> Iterator[Site]:
    """Yield every norm with its calls in the traced graph."""
    calls: dict[object, list[fx.Node]] = defaultdict(list)
    for node in graph.nodes if graph is not None else ():
        if node.op == "call_module":
            calls[node.target].append(node)
    for site in sites_in(model):
        seen = tuple(node for path in site.paths for node in calls[path])
        yield replace(site, calls=seen, has_hidden_calls=_is_inside(site.path, untraceable))


def _is_inside(path: str, outer_paths: Iterable[str]) -> bool:
    """Tell whether a module lies inside one of others; "" is the root, which holds all."""
    return any(not outer or f"{path}.".startswith(f"{outer}.") for outer in outer_paths)


def _functional_norms(graph: fx.Graph | None) -> Iterator[FunctionalNorm]:
    """Yield the calls of `F.batch_norm` in a traced graph."""
    for node in graph.nodes if graph is not None else ():
        if node.op == "call_function" and node.target in _FUNCTIONAL:
            stack = node.meta.get("nn_module_stack") or {"": ("", None)}
            owner = str(list(stack.values())[-1][0])
            yield FunctionalNorm(owner, node, on_weight=_comes_from_parameter(node))


def _comes_from_parameter(node: fx.Node) -> bool:
    """Tell whether a call normalizes a (reshaped) parameter, as weight standardization does."""
    argument = node.args[0] if node.args else node.kwargs.get("input")
    while isinstance(argument, fx.Node) and argument.op != "get_attr" and argument.args:
        argument = argument.args[0]
    return isinstance(argument, fx.Node) and argument.op == "get_attr"


def _nodes_after(last: fx.Node) -> Iterator[fx.Node]:
    """Yield the nodes of a graph that come after one."""
    node = last.next
    while node.op != "root":
        yield node
        node = node.next
