"""Run a captured graph operator by operator, in float64 and in its own dtype at once.

Further runs in its own dtype may go along, in which everything is rounded otherwise.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from bnconvert.graphs.example import Example
from bnconvert.verification.lowered_precision import Precision
from bnconvert.verification.perturbation import ApproximatedKernels, moved

#: Kernels approximate functions such as tanh to so many units in the last place of 1.
_APPROXIMATED = 4.0


class DualPrecisionRun:
    """A run of a captured graph, operator by operator.

    Attributes:
        values: the values that are still needed, each in float64, in its own dtype, and of every
            further run.
        varying: the operators whose values depend on the inputs' numbers, in order, and whether
            they are floating-point.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        example: Example,
        further: int = 0,
        precision: Precision | None = None,
    ) -> None:
        """Prepare to run; nothing is computed yet.

        Args:
            module: the graph, in its own dtype; its constants are widened one by one.
            example: its inputs.
            further: how many further runs are rounded otherwise.
            precision: what every run but that in float64 rounds to, where that is lower.
        """
        self._precision = precision
        self.values: dict[fx.Node, tuple[Any, ...]] = {}
        self._further = further
        self._generator = torch.Generator().manual_seed(0)
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
            exact, native, *_ = self.values[node] = self._values(node)
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
        native = value.to(self.values[node][1].dtype)
        further = [self._rounded_otherwise(native) for _ in range(self._further)]
        self.values[node] = wide(value), native, *further

    def own_values(self, node: fx.Node) -> Sequence[Tensor]:
        """Return a node's value in its own dtype, of every run."""
        own = self.values[node][1:]
        rounded = self._precision.rounded_output if self._precision else lambda value: value
        return [rounded(value) for value in own]

    def _values(self, node: fx.Node) -> tuple[Any, ...]:
        """Return a node's value in float64, in its own dtype, and of every further run."""
        if node.op == "call_function":
            return self._called(node)
        value = next(self._inputs) if node.op == "placeholder" else _attribute(self._module, node)
        further = [self._rounded_otherwise(value) for _ in range(self._further)]
        return pytree.tree_map_only(Tensor, wide, value), value, *further

    def _called(self, node: fx.Node) -> tuple[Any, ...]:
        """Compute an operator in float64, in its own dtype, and once for every further run."""
        function: Callable[..., Any] = node.target  # type: ignore[assignment]  # of this op

        def arguments(which: int) -> tuple[Any, Any]:
            def read(read: fx.Node) -> Any:
                return self.values[read][which]

            return fx.map_arg(node.args, read), fx.map_arg(node.kwargs, read)

        args, kwargs = arguments(1)
        with self._lowering():
            native = function(*args, **kwargs)
        args, kwargs = pytree.tree_map_only(torch.dtype, _wide_dtype, arguments(0))
        try:
            exact = function(*args, **kwargs)
        except Exception:  # the operator has no float64 kernel
            exact = native
        further = [native] * self._further
        kernels = ApproximatedKernels(_APPROXIMATED * _eps_of(native), self._generator)
        for run in range(self._further):
            args, kwargs = arguments(2 + run)
            # Where it is too sensitive to be moved, as a shape is, the run goes on as the others.
            with contextlib.suppress(Exception), kernels, self._lowering():
                further[run] = self._rounded_otherwise(function(*args, **kwargs))
        return pytree.tree_map_only(Tensor, wide, exact), native, *further

    def _lowering(self) -> AbstractContextManager[Any]:
        return self._precision.lowering_of_any() if self._precision else contextlib.nullcontext()

    def _rounded_otherwise(self, value: Any) -> Any:
        """Return a value whose numbers are moved by a unit in the last place."""
        return pytree.tree_map_only(Tensor, lambda t: moved(t, 0.0, self._generator), value)


def _eps_of(value: Any) -> float:
    """Return the unit in the last place of 1 of a tensor's dtype, else of float32's."""
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return float(torch.finfo(value.dtype if floating else torch.float32).eps)


def _attribute(module: fx.GraphModule, node: fx.Node) -> Any:
    prefix, _, name = str(node.target).rpartition(".")
    return getattr(module.get_submodule(prefix), name)


def wide(tensor: Tensor) -> Tensor:
    """Return a floating-point tensor in float64, and others as they are."""
    return tensor.detach().double() if tensor.is_floating_point() else tensor


def _wide_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype.is_floating_point else dtype
