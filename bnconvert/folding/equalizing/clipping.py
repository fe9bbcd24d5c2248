"""ReLU6 and its like, min(max(x, 0), c): what lets a scale pass them.

min(max(x / s, 0), c / s) = min(max(x, 0), c) / s: with a bound for every channel they are as good
as ReLU. Without a bound they are another function.
"""

from typing import Literal

import torch
from torch import fx

from bnconvert.graphs.aten import argument, aten
from bnconvert.graphs.mutable_graph import MutableGraph

#: What is done with clipping functions between layers.
Clipping = Literal["keep", "per-channel", "relu"]
_CLAMPS = frozenset({aten.hardtanh.default, aten.clamp.default})


def clip_of(node: fx.Node) -> float | None:
    """Return the upper bound c of an operator that computes min(max(x, 0), c); else None."""
    if node.op != "call_function":
        return None
    if node.target is aten.relu6.default:
        return 6.0
    if node.target not in _CLAMPS:
        return None
    names = ("min_val", "max_val") if node.target is aten.hardtanh.default else ("min", "max")
    low, high = (argument(node, name) for name in names)
    if low != 0 or not isinstance(high, int | float) or high <= 0:
        return None
    return float(high)


def replace_clip(graph: MutableGraph, node: fx.Node, how: Clipping) -> fx.Node:
    """Replace a clipping function; return what computes its value now.

    Args:
        graph: changed in place.
        node: an operator of which `clip_of` is a number.
        how: "relu" leaves the bound out; else it is a minimum with a constant of its own.
    """
    bound, made = clip_of(node), node.meta["val"]
    assert bound is not None
    with graph.fx_graph.inserting_before(node):
        new = graph.fx_graph.call_function(aten.relu.default, (node.args[0],))
    new.meta = dict(node.meta)
    if how != "relu":
        like = torch.full([1] * made.dim(), bound, dtype=torch.float64, device="cpu")
        constant = graph.add_constant(node, "bound", like, made.dtype)
        with graph.fx_graph.inserting_before(node):
            new = graph.fx_graph.call_function(aten.minimum.default, (new, constant))
        new.meta = dict(node.meta)
    graph.replace(node, new)
    return new
