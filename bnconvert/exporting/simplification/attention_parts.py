"""Attention in the operators that it consists of, and the parts of a tensor one by one.

Before opset 23 torch.onnx writes attention for any number of axes: the keys are flattened,
transposed and reshaped by sizes that the file computes, and both sides are scaled. In a graph the
number of axes is known. A runtime makes one product of a transposition, a scale and a product.
"""

import operator

from torch import fx

from bnconvert.graphs.aten import argument, aten, inserted_before
from bnconvert.torch_private.symbolic_sizes import are_same

_AXES = 4  # torch.onnx writes attention over no other number of them, not even as one operator


def is_written_by_torch(node: fx.Node) -> bool:
    """Tell whether torch.onnx has an operator for attention over as many axes."""
    return len(argument(node, "query").meta["val"].shape) == _AXES


def write_attention(node: fx.Node) -> None:
    """Write attention as product, softmax and product; leave what torch.onnx writes better."""
    if not _is_plain(node):
        return
    query, key, value, mask = (argument(node, n) for n in ("query", "key", "value", "attn_mask"))
    scale, many = argument(node, "scale"), query.meta["val"]
    scale = many.shape[-1] ** -0.5 if scale is None else scale
    turned = key.meta["val"].transpose(-2, -1)
    weights = many.new_empty((*many.shape[:-1], turned.shape[-1]))
    keys = inserted_before(node, aten.transpose.int, (key, -2, -1), turned)
    queries = inserted_before(node, aten.mul.Tensor, (query, scale), many)
    scores = inserted_before(node, aten.matmul.default, (queries, keys), weights)
    if mask is not None:
        scores = inserted_before(node, aten.add.Tensor, (scores, mask), weights)
    shares = inserted_before(node, aten.softmax.int, (scores, -1), weights)
    node.args, node.kwargs, node.target = (shares, value), {}, aten.matmul.default
    for view in node.graph.find_nodes(op="call_function", target=aten.view.default):
        view.target = aten.reshape.default  # a product lies in memory otherwise than attention


def _is_plain(node: fx.Node) -> bool:
    """Tell whether attention has as many heads on all sides, and no mask of truth values."""
    query, key, value, mask = (argument(node, n) for n in ("query", "key", "value", "attn_mask"))
    sizes = [given.meta["val"].shape for given in (query, key, value)]
    return (
        not argument(node, "dropout_p")
        and not argument(node, "is_causal")
        and (mask is None or mask.meta["val"].dtype == query.meta["val"].dtype)
        and all(are_same(size[:-2], sizes[0][:-2]) for size in sizes)
        and isinstance(sizes[0][-1], int)
    )


def write_parts(node: fx.Node) -> None:
    """Write each part along an axis as one operator, where torch.onnx slices and squeezes."""
    if any(part.target is not operator.getitem for part in node.users):
        return
    for part in list(node.users):
        part.args = (node.args[0], argument(node, "dim"), part.args[1])
        part.kwargs, part.target = {}, aten.select.int
    node.graph.erase_node(node)
