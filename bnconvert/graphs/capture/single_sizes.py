"""Whether a captured graph is right where a dynamic axis has size 1, which torch.export never asks.

It takes 0 and 1 for special sizes: a dynamic axis is one of 2 or more, and no condition says so. A
forward with `if x.shape[0] == 1` is captured as it treats larger batches, and its graph runs on a
single sample too. So both are run.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from bnconvert.graphs.example import Example, arguments_of
from bnconvert.modules.copies.preserving import restored
from bnconvert.numerics.distance import difference, relative_error

#: The same operators ran: only kernels for other shapes round otherwise.
_ALIKE = 1e-3


def larger_than_one(model: nn.Module, graph: nn.Module, program: ExportedProgram) -> Iterator[str]:
    """Yield "2 <= L['x'].size()[0]" for every dynamic axis with whose size 1 the graph is wrong.

    Args:
        model: what was captured.
        graph: the captured graph, as a module.
        program: the same, with the inputs that it was captured with.
    """
    leaves, spec = pytree.tree_flatten(program.example_inputs)
    for places in _dynamic_axes(program, leaves):
        small = list(leaves)
        for index, axis in places:
            small[index] = small[index].narrow(axis, 0, 1)
        if not _agree(model, graph, Example(*pytree.tree_unflatten(small, spec))):
            index, axis = places[0]
            yield f"2 <= {_name(model, program, index)}.size()[{axis}]"


def _dynamic_axes(program: ExportedProgram, leaves: list[Any]) -> Iterator[list[tuple[int, int]]]:
    """Yield, for each dynamic size, which inputs have it and at which of their axes."""
    specs = program.graph_signature.input_specs
    given = {spec.arg.name for spec in specs if spec.kind is InputKind.USER_INPUT}
    nodes = [n for n in program.graph.find_nodes(op="placeholder") if n.name in given]
    found: dict[str, list[tuple[int, int]]] = {}
    if len(nodes) == len(leaves):
        for index, node in enumerate(nodes):
            shape = getattr(node.meta.get("val"), "shape", ())
            for axis, size in enumerate(shape):
                if not isinstance(size, int) and str(size).isidentifier():  # no sum of others
                    found.setdefault(str(size), []).append((index, axis))
    yield from found.values()


def _name(model: nn.Module, program: ExportedProgram, index: int) -> str:
    """Return how a condition writes an input: L['x'], or L['batch']['image']."""
    example = Example(*program.example_inputs)
    leaf = pytree.tree_leaves((example.args, example.kwargs))[index]
    named, _ = pytree.tree_flatten_with_path(arguments_of(model, example))
    return next(f"L{pytree.keystr(path)}" for path, value in named if value is leaf)


def _agree(model: nn.Module, graph: nn.Module, example: Example) -> bool:
    """Tell whether a graph computes what the model does; where the model fails, it may too."""
    results: list[list[Any]] = []
    for module in (model, graph):
        torch.manual_seed(0)  # of dropout that is always on
        copied = example.map(Tensor.clone)
        try:
            with restored(module):  # a part in training mode changes its statistics
                results.append(pytree.tree_leaves(module(*copied.args, **copied.kwargs)))
        except AssertionError:
            return True  # a condition of the graph excludes the size already, or the model does
        except Exception:
            return module is model
    expected, actual = results
    return len(expected) != len(actual) or all(map(_alike, expected, actual))


def _alike(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return not difference(b, a) and relative_error(b, a, "norm") <= _ALIKE
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=_ALIKE) or a != a
    return not isinstance(a, bool | int | str) or bool(a == b)
