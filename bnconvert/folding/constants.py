"""Weights that the forward computes from parameters alone become constants.

Weight normalization, spectral normalization in eval mode, standardized weights, stacked or masked
weights: the expression is computed once, in float64, where its result is no larger than what it is
computed from. A norm after such a layer then folds as after any other.
"""

from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from bnconvert.graphs.aten import aten, called_in
from bnconvert.graphs.mutable_graph import MutableGraph


def compute_constants(graph: MutableGraph) -> int:
    """Compute every constant expression that shrinks or keeps its size; return how many."""
    known: dict[fx.Node, Any] = {}
    checks: list[fx.Node] = []
    roots: dict[fx.Node, frozenset[fx.Node]] = {}
    expressions = _constant_expressions(graph.fx_graph)
    for node in graph.fx_graph.nodes:
        if node.op == "get_attr":
            if expressions.isdisjoint(node.users):
                continue  # a layer's own weight, as most are
            value = graph.constant(node)
            if value is not None:
                known[node], roots[node] = value, frozenset([node])
        elif node.target is aten._assert_tensor_metadata.default and node.args[0] in known:
            checks.append(node)
        elif _is_computable(node, known):
            value = _computed(node, known)
            if value is not None:
                known[node] = value
                roots[node] = frozenset().union(*(roots[n] for n in node.all_input_nodes))
    for node in checks:  # of dtypes of what is a constant anyway
        graph.fx_graph.erase_node(node)
    count = 0
    for node, value in known.items():
        if node.op == "get_attr" or all(user in known for user in node.users):
            continue
        if isinstance(value, Tensor) and value.numel() <= sum(
            known[r].numel() for r in roots[node]
        ):
            _store(graph, node, value)
            count += 1
    graph.fx_graph.eliminate_dead_code()
    return count


def _constant_expressions(graph: fx.Graph) -> set[fx.Node]:
    """Return the operators that read constants alone, at whatever distance, and their checks."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        read = node.all_input_nodes
        if read and all(source.op == "get_attr" or source in found for source in read):
            found.add(node)
    return found


def _is_computable(node: fx.Node, known: dict[fx.Node, Any]) -> bool:
    return (
        node.op == "call_function"
        and bool(node.all_input_nodes)
        and all(source in known for source in node.all_input_nodes)
        and torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ())
        and isinstance(node.meta.get("val"), Tensor | list | tuple)
    )


def _computed(node: fx.Node, known: dict[fx.Node, Any]) -> Any:
    """Return the result of an operator on constants, in float64; None where it has none."""
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: known[n])
    try:
        with torch.no_grad():
            result = node.target(*args, **kwargs)  # type: ignore[operator]
    except (RuntimeError, TypeError, NotImplementedError):
        return None  # an operator that has no float64 kernel or mixes dtypes: left in the graph
    return pytree.tree_map_only(
        Tensor, lambda t: t.double().cpu() if t.dtype.is_floating_point else t.cpu(), result
    )


def _store(graph: MutableGraph, node: fx.Node, value: Tensor) -> None:
    consumer = next(iter(node.users))
    name = "weight" if len(consumer.args) > 1 and consumer.args[1] is node else "constant"
    dtype, owner = node.meta["val"].dtype, called_in(consumer)
    constant = graph.add_constant(node, name, value.clone(), dtype, owner)
    graph.replace(node, constant)
