"""The forms of operators: lowered ones are raised to layers, maps are lowered to operators."""

from collections.abc import Collection

import torch
from torch import Tensor, fx

from bnconvert.graphs.aten import argument, aten
from bnconvert.graphs.mutable_graph import MutableGraph, channelwise
from bnconvert.numerics.channel_map import ChannelMap

_PRODUCTS = (aten.mm.default, aten.matmul.default)
#: A power of two: var + eps is exactly 1 in float32, so that a norm's weight is its scale.
EPS = 2.0**-17
_END = 2**63 - 1


def rewrite_products_as_linear(graph: MutableGraph) -> None:
    """Rewrite `addmm`, `mm` and `matmul` with a stored matrix, which are x W + b, as `linear`."""
    for node in list(graph.fx_graph.nodes):
        if node.op != "call_function":
            continue
        if node.target is aten.slice.Tensor and _is_whole(node):
            graph.replace(node, node.args[0])
            continue
        if node.target is aten.addmm.default:
            bias, x, matrix = node.args[:3]
            plain = argument(node, "beta") == 1 and argument(node, "alpha") == 1
        elif node.target in _PRODUCTS:
            (x, matrix), bias, plain = node.args[:2], None, True
        else:
            continue
        value, offset = graph.constant(matrix), graph.constant(bias)
        if not plain or value is None or value.dim() != 2 or not isinstance(x, fx.Node):
            continue
        if x.op == "get_attr" or (bias is not None and (offset is None or offset.dim() != 1)):
            continue
        _as_linear(graph, node, x, value, offset)


def _is_whole(node: fx.Node) -> bool:
    """Tell whether a slice is all of its input, as `x[:, :2]` writes for the first axis."""
    start, end, step = (argument(node, name) for name in ("start", "end", "step"))
    return start in (None, 0) and step == 1 and (end is None or end == _END)


def _as_linear(
    graph: MutableGraph, node: fx.Node, x: fx.Node, matrix: Tensor, bias: Tensor | None
) -> None:
    dtype = node.meta["val"].dtype
    args: list[fx.Node | None] = [x]
    transposed = matrix.t().contiguous()
    args.append(graph.add_constant(node, "matrix", transposed, dtype))
    if bias is not None:
        args.append(graph.add_constant(node, "offset", bias, dtype))
    with graph.fx_graph.inserting_before(node):
        linear = graph.fx_graph.call_function(aten.linear.default, tuple(args))
    linear.meta = dict(node.meta)
    graph.replace(node, linear)


def rewrite_maps_as_operators(graph: MutableGraph, norms: Collection[fx.Node]) -> None:
    """Write the maps that are left as one multiplication, one addition, or one batch norm.

    A norm that stands stays one operator where its map goes along axis 1: ONNX Runtime computes it
    as fast as the two, and it is one node less. Other arithmetic is never written as a batch norm:
    the model had none there, and quantizers leave batch norms in floating point.

    Args:
        graph: is changed in place.
        norms: the maps that stand for a norm, or hold one.
    """
    for node in list(graph.fx_graph.nodes):
        if node.target is not channelwise:
            continue
        x, scale_node, shift_node = node.args
        scale, shift = graph.constant(scale_node), graph.constant(shift_node)
        assert scale is not None
        assert shift is not None
        change = ChannelMap.of(scale, shift)
        with graph.fx_graph.inserting_before(node):
            held = (scale_node, shift_node)
            new = _lowered(graph, node, x, change, held, is_norm=node in norms)
        new.meta = dict(node.meta)
        graph.replace(node, new)


def _lowered(
    graph: MutableGraph,
    node: fx.Node,
    x: fx.Node,
    change: ChannelMap,
    constants: tuple[fx.Node, fx.Node],
    *,
    is_norm: bool,
) -> fx.Node:
    call, (scale, shift) = graph.fx_graph.call_function, constants
    if not change.shifts:
        return call(aten.mul.Tensor, (x, scale))
    if not change.scales:
        return call(aten.add.Tensor, (x, shift))
    channels = node.meta["val"].shape[1] if is_norm and change.axes > 1 else None
    vectors = change.vectors(1, channels) if isinstance(channels, int) else None
    if vectors is None:
        product = call(aten.mul.Tensor, (x, scale))
        product.meta = dict(node.meta)
        return call(aten.add.Tensor, (product, shift))
    dtype = node.meta["val"].dtype
    ones = torch.ones(len(vectors[0]), dtype=torch.float64, device="cpu")
    tensors = {
        "weight": vectors[0],
        "bias": vectors[1],
        "running_mean": 0 * ones,
        "running_var": (1 - EPS) * ones,
    }
    held = [
        graph.add_constant(node, name, tensor.clone(), dtype) for name, tensor in tensors.items()
    ]
    return call(aten.batch_norm.default, (x, *held, False, 0.0, EPS, False))
