"""Whether a tracer may run a captured graph in place of a module whose sizes depend on values.

A tracer records what a module computes from its sizes. Of a graph it does not: a size that the
graph computes with, or was captured for, would be a constant in the file.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from bnconvert.graphs.capture.capturing import Captured
from bnconvert.graphs.example import Example
from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.torch_private.data_dependence import decides_size
from bnconvert.torch_private.size_guards import in_words, without_fixed

_PLAIN_NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d
_SYMBOLS = torch.SymInt, torch.SymFloat, torch.SymBool
_ASSERTIONS = (
    "aten._assert_scalar.default",
    "aten.sym_constrain_range.default",
    "aten.sym_constrain_range_for_size.default",
)
_COMPUTES = "its graph computes with a size that depends on values, which would be a constant"

_VARIES = 2  # the least size that torch.export lets vary

#: An axis of an input: the place of the tensor among them, and that of the axis.
_Axis = tuple[int, int]


def constant_size(module: nn.Module, captured: Captured, *, is_given: bool) -> str | None:
    """Return why a file traced through a graph would hold a size that depends on values, or None.

    Args:
        module: what was captured.
        captured: its graph.
        is_given: whether sizes of its inputs depend on values.
    """
    if not is_given:
        return decided_size(captured.module)
    if type(module) in _PLAIN_NORMS:
        return None  # one operator for all sizes, also where a graph of it was captured for one
    if _computes_with_sizes(captured.module):
        return _COMPUTES
    if conditions := without_fixed(captured.limits.conditions):
        return f"its graph is what it computes only where {', '.join(map(in_words, conditions))}"
    return _fixed_size(module, captured)


def decided_size(graph: fx.GraphModule) -> str | None:
    """Return why a file traced through a graph would hold a size that it decides, or None."""
    called = [node for node in graph.graph.nodes if node.op == "call_function"]
    decides = any(decides_size(node.target, _values(node)) for node in called if _is_aten(node))
    return _COMPUTES if decides and _computes_with_sizes(graph) else None


def _is_aten(node: fx.Node) -> bool:
    return hasattr(node.target, "namespace")


def _values(node: fx.Node) -> tuple[Any, ...]:
    return fx.node.map_arg(node.args, lambda arg: arg.meta.get("val"))


def _computes_with_sizes(graph: fx.GraphModule) -> bool:
    """Tell whether numbers that sizes are made of are used in a graph, or in those it calls."""
    graphs = [module for module in graph.modules() if isinstance(module, fx.GraphModule)]
    numbers = [n for inner in graphs for n in inner.graph.nodes if _is_symbolic(n)]
    users = (user for number in numbers for user in number.users)
    return any(not _is_symbolic(user) and str(user.target) not in _ASSERTIONS for user in users)


def _is_symbolic(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), _SYMBOLS)


def _fixed_size(module: nn.Module, captured: Captured) -> str | None:
    """Return which size a graph was captured for, though the module takes others; or None."""
    for axes in _together(captured.example):
        longer = _longer(captured.example, axes)
        with preserved_random_state():
            fixes = _output(module, longer) is not None and not agrees(module, captured, longer)
        if fixes:
            place, axis = axes[0]
            size = captured.example.tensors()[place].shape[axis]
            return f"its graph is for size {size} of axis {axis} of an input only"
    return None


def with_longer(module: nn.Module, example: Example) -> Iterator[Example]:
    """Yield inputs whose axes of size 0 and 1, which captures take for constants, are longer.

    Only such as the module takes: one axis, or those that it needs to be equal.
    """
    tensors = example.tensors()
    for axes in _together(example):
        if all(tensors[place].shape[axis] < _VARIES for place, axis in axes):
            longer = example
            while any(longer.tensors()[p].shape[axis] < _VARIES for p, axis in axes):
                longer = _longer(longer, axes)
            with preserved_random_state():
                takes = _output(module, longer) is not None
            if takes:
                yield longer


def _together(example: Example) -> Iterator[list[_Axis]]:
    """Yield every axis alone, and those of one size, which a module may need to be equal."""
    shapes = [tensor.shape for tensor in example.tensors()]
    sizes = {(place, axis): n for place, shape in enumerate(shapes) for axis, n in enumerate(shape)}
    yield from ([axis] for axis in sizes)
    yield from ([axis for axis in sizes if sizes[axis] == n] for n in dict.fromkeys(sizes.values()))


def _longer(example: Example, axes: list[_Axis]) -> Example:
    """Return inputs that are longer by one along some axes."""
    tensors = list(example.tensors())
    for place, axis in axes:
        old = tensors[place]
        row = old.narrow(axis, 0, 1) if old.shape[axis] else old.new_zeros(_one_row(old, axis))
        tensors[place] = torch.cat([old, row], axis)
    given = iter(tensors)
    return example.map(lambda _: next(given).clone())


def _one_row(tensor: Tensor, axis: int) -> list[int]:
    return [1 if place == axis else size for place, size in enumerate(tensor.shape)]


def agrees(module: nn.Module, captured: Captured, call: Example) -> bool:
    """Tell whether a captured part computes on a call what the part itself does."""
    expected, actual = _output(module, call), _output(captured.module, call)
    if expected is None or actual is None:
        return False  # a size that it was not captured for
    pairs = zip(expected, actual, strict=True)
    return all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in pairs)


def _output(module: nn.Module, call: Example) -> list[Any] | None:
    """Return the leaves of what a module returns; None where it fails."""
    try:
        with torch.no_grad():
            return pytree.tree_leaves(module(*call.args, **call.kwargs))
    except Exception:
        return None
