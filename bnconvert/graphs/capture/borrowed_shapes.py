"""Operators that take a shape or a dtype from another tensor, written with that shape or dtype.

`x.reshape_as(y)`, `x.expand_as(y)` and `x.to(dtype)` are short for operators that a fold and an
exporter know. To have torch spell them out it must trace the whole program again.
"""

from typing import Any

import torch
from torch import Tensor, fx

from bnconvert.graphs.aten import argument, aten

#: Each is another operator that gets the shape of its second argument.
_SHAPES = {
    aten.reshape_as.default: aten.reshape.default,
    aten.view_as.default: aten.view.default,
    aten.expand_as.default: aten.expand.default,
}
#: Each is a cast, or its own input where that has the dtype already.
_CASTS = (
    aten.to.dtype,
    aten.to.device,
    aten.to.dtype_layout,
    aten.to.other,
    aten.type_as.default,
)
_LAYOUTS = (None, torch.preserve_format, torch.strided)


def spell_out_borrowed_shapes(module: fx.GraphModule) -> None:
    """Rewrite in place every such operator of a captured graph that can be spelled out.

    A size that may vary is read from the other tensor, or from where the graph reads it already.
    Where the graph has regions, nothing is: torch has to trace it again anyway, which writes the
    casts inside a region of autocast.
    """
    if any(isinstance(region, fx.GraphModule) for region in module.children()):
        return
    sizes: dict[str, fx.Node] = {}
    changed = False
    for node in list(module.graph.nodes):
        if node.target is aten.sym_size.int:
            sizes.setdefault(str(node.meta.get("val")), node)
        elif node.target in _SHAPES:
            node.args = (node.args[0], _sizes_of(node.args[1], node, sizes))
            node.target = _SHAPES[node.target]
            changed = True
        elif node.target in _CASTS:
            _spell_out_cast(node)
            changed = True
    if changed:
        module.recompile()


def _sizes_of(tensor: Any, reader: fx.Node, known: dict[str, fx.Node]) -> list[int | fx.Node]:
    """Return a tensor's sizes; nodes for those that may vary."""
    found: list[int | fx.Node] = []
    for axis, size in enumerate(tensor.meta["val"].shape):
        if not isinstance(size, int) and str(size) not in known:
            with reader.graph.inserting_before(reader):
                read = reader.graph.call_function(aten.sym_size.int, (tensor, axis))
            read.meta = {"val": size}
            known[str(size)] = read
        found.append(size if isinstance(size, int) else known[str(size)])
    return found


def _spell_out_cast(node: fx.Node) -> None:
    """Write a cast as one that always copies, or as nothing where it changes nothing."""
    source, result = node.args[0], node.meta.get("val")
    if not isinstance(source, fx.Node) or not isinstance(result, Tensor):
        return
    given = source.meta.get("val")
    if not isinstance(given, Tensor) or given.device != result.device or not _keeps_layout(node):
        return
    if given.dtype != result.dtype:
        node.target, node.args = aten._to_copy.default, (source,)
        node.kwargs = {"dtype": result.dtype}
    elif not _argument(node, "copy"):
        node.replace_all_uses_with(source)
        node.graph.erase_node(node)


def _keeps_layout(node: fx.Node) -> bool:
    return all(_argument(node, name) in _LAYOUTS for name in ("layout", "memory_format"))


def _argument(node: fx.Node, name: str) -> Any:
    try:
        return argument(node, name)
    except KeyError:
        return None
