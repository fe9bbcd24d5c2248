"""`survey`: find all norms of a model and trace their calls by torch.fx, as far as it goes."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.parallel import DataParallel, DistributedDataParallel

from bnconvert.errors import UnsupportedModelError, first_line
from bnconvert.modules.copies.copying import copy_sharing_parameters
from bnconvert.modules.copies.preserving import preserved
from bnconvert.modules.kinds import is_only_a_norm, kind_of
from bnconvert.modules.lazy_modules import require_numbers
from bnconvert.modules.running_statistics import STATISTICS_NAMES
from bnconvert.modules.sharding import why_sharded
from bnconvert.modules.site import Survey
from bnconvert.modules.tracing.trace import (
    Trace,
    functional_norms,
    registered_sites,
    unregistered_sites,
)
from bnconvert.modules.tracing.unregistered import unregistered_norms
from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.torch_private.compilation import is_compiled
from bnconvert.torch_private.one_at_a_time import one_at_a_time


@one_at_a_time()
def survey(model: nn.Module) -> Survey:
    """Find every batch norm of `model`, and trace where its forward calls it.

    The trace runs on a deep copy that shares the parameters, because tracing leaves proxies in
    the caches of some models. A submodule that cannot be traced is one call in the graph, and
    its reason is noted; where the root itself cannot be traced, only the module tree is read,
    and the code of the forwards.

    Raises:
        UnsupportedModelError: `model` is wrapped, compiled or scripted, or no module at all.
    """
    require_eager(model)
    trace = traced(model)
    scripted = tuple(scripted_paths(model))
    sites = tuple(registered_sites(model, trace))
    called, idle = unregistered_sites(model, trace)
    functional = tuple(functional_norms(model, trace))
    return Survey(
        model, trace.graph, (*sites, *called), trace.closed, scripted, functional, tuple(idle)
    )


def scripted_paths(module: nn.Module, path: str = "") -> Iterator[str]:
    """Yield the paths of the outermost TorchScript modules below a module at `path`."""
    if isinstance(module, torch.jit.ScriptModule):
        yield path
        return
    for name, child in module.named_children():
        yield from scripted_paths(child, f"{path}.{name}".lstrip("."))


def _module_of(thing: object) -> str:
    """Say where the module is: in a result of ours, in a torch.export program, or elsewhere."""
    inner = getattr(thing, "module", None)
    if isinstance(inner, nn.Module):
        return "its .module"
    return "its .module()" if callable(inner) else "the module itself"


def require_eager(model: object) -> None:
    """Raise unless `model` is an eager, unwrapped module, whole in this process.

    Raises:
        UnsupportedModelError: it says how to unwrap the model.
    """
    if not isinstance(model, nn.Module):
        name = type(model).__name__
        article = "an" if name[:1] in "AEIOU" else "a"
        raise UnsupportedModelError(
            f"{article} {name} is not a torch.nn.Module; give {_module_of(model)}"
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


def require_runnable(model: nn.Module) -> None:
    """Raise unless `model` is eager and has its weights, so that its copies compute what it does.

    Raises:
        UnsupportedModelError: it says how to unwrap the model, which modules to run once, or to
            load the weights.
    """
    require_eager(model)
    require_numbers(model)


class NormTracer(fx.Tracer):
    """An fx tracer for which norms are leaves, and submodules that it cannot trace are too.

    Attributes:
        untraceable: path to reason, for each submodule that could not be traced.
        unregistered: the calls of norms that are no submodules, and the norms.
    """

    def __init__(self, is_leaf: Callable[[nn.Module], bool] = lambda module: False) -> None:
        """Create a tracer that has traced nothing yet.

        Args:
            is_leaf: tells of a module whether it is one call in the graph, beside norms.
        """
        super().__init__()
        self._is_leaf = is_leaf
        self.untraceable: dict[str, str] = {}
        self.unregistered: dict[fx.Node, nn.Module] = {}
        self._thread = threading.get_ident()
        self._names: dict[int, str] | None = None  # of parameters and buffers, by identity

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        """Return what stands for an attribute: a proxy for parameters and running statistics."""
        # torch's own looks through all parameters at each access, and hands proxies to a thread
        # that runs the model meanwhile.
        statistics = attr in STATISTICS_NAMES and isinstance(attr_val, Tensor)
        if not (isinstance(attr_val, nn.Parameter) or statistics):
            return attr_val
        if threading.get_ident() != self._thread:
            return attr_val
        if self._names is None:
            named = (*self.root.named_buffers(), *self.root.named_parameters())
            self._names = {id(tensor): name for name, tensor in named}
        name = self._names.get(id(attr_val))
        if name is None:
            return attr_val
        if name not in parameter_proxy_cache:
            parameter_proxy_cache[name] = self.create_proxy("get_attr", name, (), {})
        return parameter_proxy_cache[name]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Tell whether a module is one call in the graph: norms, and what torch.fx says."""
        return (
            is_only_a_norm(m)
            or isinstance(m, torch.jit.ScriptModule)
            or self._is_leaf(m)
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
        if threading.get_ident() != self._thread:  # fx replaces the call of every module
            return forward(*args, **kwargs)
        if self._is_unregistered(m) and kind_of(m) is not None:
            x = args[0] if args else next(iter(kwargs.values()))
            proxy = self.create_proxy("call_function", F.batch_norm, (x, None, None), {})
            self.unregistered[proxy.node] = m
            return proxy
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

    def _is_unregistered(self, module: nn.Module) -> bool:
        try:
            self.path_of_module(module)
        except NameError:
            return True
        return False


def traced(model: nn.Module, is_leaf: Callable[[nn.Module], bool] = lambda module: False) -> Trace:
    """Trace a copy of the model; return the graph, and what could not be traced.

    Args:
        model: looked at only.
        is_leaf: tells of a module whether it is one call in the graph, beside norms.
    """
    if kind_of(model) is not None and is_only_a_norm(model):
        return Trace(None, {"": "the model is itself a norm"})
    tracer = NormTracer(is_leaf)
    if "forward" in vars(model):
        return Trace(
            None, {"": "its forward is replaced on the object, which torch.fx does not see"}
        )
    try:
        copy = copy_sharing_parameters(model)
        places = [id(norm) for _, _, norm, _ in unregistered_norms(copy)]
        # A forward may draw numbers while it is traced, and put proxies anywhere.
        with preserved_random_state(), preserved(model):
            graph = tracer.trace(copy)
    except Exception as failure:
        return Trace(None, {"": first_line(failure)})
    unregistered = {
        node: places.index(id(norm)) if id(norm) in places else None
        for node, norm in tracer.unregistered.items()
    }
    return Trace(graph, tracer.untraceable, unregistered)


def _nodes_after(last: fx.Node) -> Iterator[fx.Node]:
    """Yield the nodes of a graph that come after one."""
    node = last.next
    while node.op != "root":
        yield node
        node = node.next
