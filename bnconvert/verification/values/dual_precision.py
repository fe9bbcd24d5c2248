"""Run a captured graph operator by operator, in float64 and in its own dtype at once.

Further runs in its own dtype may go along, in which everything is rounded otherwise. They are
computed where somebody asks for them, and where the values that they start from are about to go.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, overload

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from bnconvert.graphs.example import Example
from bnconvert.verification.rounding.lowered_precision import Precision
from bnconvert.verification.rounding.perturbation import ApproximatedKernels, moved

#: Kernels approximate functions such as tanh to so many units in the last place of 1.
_APPROXIMATED = 4.0


class DualPrecisionRun:
    """A run of a captured graph, operator by operator.

    Attributes:
        values: the values that are still needed, each in float64 and in its own dtype.
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
        self.values: dict[fx.Node, tuple[Any, Any]] = {}
        self._others: dict[fx.Node, list[Any]] = {}
        self._put_in: set[fx.Node] = set()
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
            exact, native = self.values[node] = self._values(node)
            varies = any(read in self.varying for read in node.all_input_nodes)
            if isinstance(native, Tensor) if node.op == "placeholder" else varies:
                if isinstance(native, int):
                    continue  # a size
                self.varying[node] = isinstance(native, Tensor) and native.is_floating_point()
                if isinstance(native, Tensor) and varies:
                    yield node, exact, native
            if node.op == "call_function" and node not in self._put_in:
                self.others(node)  # what it reads may go
            for read in node.all_input_nodes:
                if self._last[read] is node:
                    self.values.pop(read, None)
                    self._others.pop(read, None)

    def replace(self, node: fx.Node, value: Tensor) -> None:
        """Set another value for a node, from which its consumers are computed."""
        self.values[node] = wide(value), value.to(self.values[node][1].dtype)
        self._put_in.add(node)
        self._others.pop(node, None)

    def own_values(self, node: fx.Node) -> "OwnValues":
        """Return a node's value in its own dtype, of every run."""
        rounded = self._precision.rounded_output if self._precision else lambda value: value
        return OwnValues(
            rounded(self.values[node][1]),
            self._further,
            lambda: [rounded(value) for value in self.others(node)],
        )

    def others(self, node: fx.Node) -> list[Any]:
        """Return a node's value in every further run."""
        if node not in self._others:
            native = self.values[node][1]
            computed = node.op == "call_function" and node not in self._put_in
            if computed and any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(native)):
                self._others[node] = self._rerun(node)
            else:
                some = range(self._further)
                self._others[node] = [self._rounded_otherwise(native) for _ in some]
        return self._others[node]

    def _values(self, node: fx.Node) -> tuple[Any, Any]:
        """Return a node's value in float64 and in its own dtype."""
        if node.op == "call_function":
            return self._called(node)
        value = next(self._inputs) if node.op == "placeholder" else _attribute(self._module, node)
        return pytree.tree_map_only(Tensor, wide, value), value

    def _called(self, node: fx.Node) -> tuple[Any, Any]:
        """Compute an operator in float64 and in its own dtype."""
        function: Callable[..., Any] = node.target  # type: ignore[assignment]  # of this op
        args, kwargs = _arguments(node, lambda read: self.values[read][1])
        with self._lowering():
            native = function(*args, **kwargs)
        exact_arguments = _arguments(node, lambda read: self.values[read][0])
        args, kwargs = pytree.tree_map_only(torch.dtype, _wide_dtype, exact_arguments)
        try:
            exact = function(*args, **kwargs)
        except Exception:  # the operator has no float64 kernel
            exact = native
        return pytree.tree_map_only(Tensor, wide, exact), native

    def _rerun(self, node: fx.Node) -> list[Any]:
        """Compute an operator once for every further run."""
        function: Callable[..., Any] = node.target  # type: ignore[assignment]  # of this op
        native = self.values[node][1]
        found = [native] * self._further
        kernels = ApproximatedKernels(_APPROXIMATED * _eps_of(native), self._generator)
        for run in range(self._further):
            inputs = {read: self.others(read)[run] for read in node.all_input_nodes}
            args, kwargs = _arguments(node, inputs.__getitem__)
            # Where it is too sensitive to be moved, as a shape is, the run goes on as the others.
            with contextlib.suppress(Exception), kernels, self._lowering():
                found[run] = self._rounded_otherwise(function(*args, **kwargs))
        return found

    def _lowering(self) -> AbstractContextManager[Any]:
        return self._precision.lowering_of_any() if self._precision else contextlib.nullcontext()

    def _rounded_otherwise(self, value: Any) -> Any:
        """Return a value whose numbers are moved by a unit in the last place."""
        return pytree.tree_map_only(Tensor, lambda t: moved(t, 0.0, self._generator), value)


class OwnValues(Sequence[Tensor]):
    """A value in its own dtype, of every run; the further ones are computed when asked for."""

    def __init__(self, first: Tensor, further: int, others: Callable[[], list[Tensor]]) -> None:
        """Keep the first run's value, and how to compute the others."""
        self._count, self._others = 1 + further, others
        self._known = [first]

    def __len__(self) -> int:
        """Return how many runs there are."""
        return self._count

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        """Return the value of a run, or those of several."""
        if index != 0 and len(self._known) < self._count:
            self._known += self._others()
        return self._known[index]


def _arguments(node: fx.Node, read: Callable[[fx.Node], Any]) -> tuple[Any, Any]:
    """Return the arguments of an operator, with the values of the nodes among them."""
    return fx.map_arg(node.args, read), fx.map_arg(node.kwargs, read)


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
