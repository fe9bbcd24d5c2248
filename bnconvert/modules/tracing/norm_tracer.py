"""A tracer of torch.fx that goes on where a submodule cannot be traced, and stops at norms."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from bnconvert.errors import first_line
from bnconvert.modules.kinds import is_only_a_norm, kind_of
from bnconvert.modules.running_statistics import STATISTICS_NAMES
from bnconvert.numerics.random_state import HostRandomState


class NormTracer(fx.Tracer):
    """An fx tracer for which norms are leaves, and submodules that it cannot trace are too.

    Where it `closes_draws`, a module whose Python code draws random numbers counts as one that
    cannot be traced: it may call other modules next time. (What a graph draws itself, as dropout
    does, is not drawn while it is traced.)

    Attributes:
        untraceable: path to reason, for each submodule that could not be traced.
        unregistered: the calls of norms that are no submodules, and the norms.
    """

    def __init__(
        self,
        is_leaf: Callable[[nn.Module], bool] = lambda module: False,
        *,
        closes_draws: bool = False,
    ) -> None:
        """Create a tracer that has traced nothing yet.

        Args:
            is_leaf: tells of a module whether it is one call in the graph, beside norms.
            closes_draws: whether modules that draw random numbers are closed.
        """
        super().__init__()
        self._is_leaf, self._closes_draws = is_leaf, closes_draws
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
        before = HostRandomState() if self._closes_draws else None
        try:
            output = super().call_module(m, forward, args, kwargs)
            _require_no_draws(before)
            return output
        except Exception as failure:
            if before is not None:
                before.restore()
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

    def trace(self, *args: Any, **kwargs: Any) -> fx.Graph:
        """Trace a root, which may not draw either.

        Raises:
            RuntimeError: it draws random numbers, and these are to be closed.
        """
        before = HostRandomState() if self._closes_draws else None
        graph = super().trace(*args, **kwargs)
        _require_no_draws(before)
        return graph

    def _is_unregistered(self, module: nn.Module) -> bool:
        try:
            self.path_of_module(module)
        except NameError:
            return True
        return False


def _require_no_draws(before: HostRandomState | None) -> None:
    if before is not None and before.has_changed():
        raise RuntimeError("its forward draws random numbers, and may call other modules next time")


def _nodes_after(last: fx.Node) -> Iterator[fx.Node]:
    """Yield the nodes of a graph that come after one."""
    node = last.next
    while node.op != "root":
        yield node
        node = node.next
