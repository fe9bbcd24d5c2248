"""Run a captured graph operator by operator, in float64 and in its own dtype at once."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from bnconvert.graphs.example import Example


class DualPrecisionRun:
    """A run of a captured graph, operator by operator.

    Attributes:
        values: the values that are still needed, each in float64 and in its own dtype.
        varying: the operators whose values depend on the inputs' numbers, in order, and whether
            they are floating-point.
    """

    def __init__(self, module: fx.GraphModule, example: Example) -> None:
        """Prepare to run; nothing is computed yet.

        Args:
            module: the graph, in its own dtype; its constants are widened one by one.
            example: its inputs.
        """
        self.values: dict[fx.Node, tuple[Any, Any]] = {}
        self._module = module
        self._inputs = iter(pytree.tree_leaves((example.args, example.kwargs)))
        self.varying: dict[fx.Node, bool] = {}
        self._last: dict[fx.Node, fx.Node] = {}
        for node in module.graph.nodes:
            for read in node.all_input_nodes:
                self._last[read] = node

    def steps(self) -> Iterator[tuple[fx.Node, Tensor, Tensor]]:
        """Compute every value; yield the tensors that depend on the inputs."""
        for node in self._module.graph.nodes:
            if node.op not in ("placeholder", "get_attr", "call_function"):
                continue
            exact, native = self.values[node] = self._pair(node)
            varies = any(read in self.varying for read in node.all_input_nodes)
            if isinstance(native, Tensor) if node.op == "placeholder" else varies:
                if isinstance(native, int):
                    continue  # a size
                self.varying[node] = isinstance(native, Tensor) and native.is_floating_point()
                if isinstance(native, Tensor) and varies:
                    yield node, exact, native
            for read in node.all_input_nodes:
                if self._last[read] is node:
                    self.values.pop(read, None)

    def replace(self, node: fx.Node, value: Tensor) -> None:
        """Set another value for a node, from which its consumers are computed."""
        native = self.values[node][1]
        self.values[node] = wide(value), value.to(native.dtype)

    def _pair(self, node: fx.Node) -> tuple[Any, Any]:
        """Return a node's value in float64 and in its own dtype."""
        if node.op == "call_function":
            return self._called(node)
        value = next(self._inputs) if node.op == "placeholder" else _attribute(self._module, node)
        return pytree.tree_map_only(Tensor, wide, value), value

    def _called(self, node: fx.Node) -> tuple[Any, Any]:
        """Compute an operator in float64 and in its own dtype."""
        function: Callable[..., Any] = node.target  # type: ignore[assignment]  # of this op

        def arguments(which: int) -> tuple[Any, Any]:
            def read(read: fx.Node) -> Any:
                return self.values[read][which]

            return fx.map_arg(node.args, read), fx.map_arg(node.kwargs, read)

        args, kwargs = arguments(1)
        native = function(*args, **kwargs)
        args, kwargs = pytree.tree_map_only(torch.dtype, _wide_dtype, arguments(0))
        try:
            exact = function(*args, **kwargs)
        except Exception:  # the operator has no float64 kernel
            exact = native
        return pytree.tree_map_only(Tensor, wide, exact), native


def _attribute(module: fx.GraphModule, node: fx.Node) -> Any:
    prefix, _, name = str(node.target).rpartition(".")
    return getattr(module.get_submodule(prefix), name)


def wide(tensor: Tensor) -> Tensor:
    """Return a floating-point tensor in float64, and others as they are."""
    return tensor.detach().double() if tensor.is_floating_point() else tensor


def _wide_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype.is_floating_point else dtype
