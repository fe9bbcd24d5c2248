"""Operators that are themselves a map: norms in eval mode, and constants that scale and shift.

s (s' x + t') + t = (s s') x + (s t' + t): two in a row are one.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, fx

from bnconvert.graphs.aten import NORMS, argument, aten, batch_norm_obstacle
from bnconvert.graphs.network import Network, channelwise
from bnconvert.layers.layer import Layer, Route, input_of, sizes_of
from bnconvert.layers.plan import Plan, Remapped
from bnconvert.numerics.channel_map import ChannelMap

_ADD = (aten.add.Tensor, aten.add.Scalar)
_SUBTRACT = (aten.sub.Tensor, aten.sub.Scalar)
_SUBTRACT_FROM = (aten.rsub.Scalar, aten.rsub.Tensor)
_MULTIPLY = (aten.mul.Tensor, aten.mul.Scalar)
_DIVIDE = (aten.div.Tensor, aten.div.Scalar)


@dataclass(frozen=True, eq=False)
class Reading:
    """An operator read as a map.

    Attributes:
        source: what it maps.
        change: the map.
    """

    source: fx.Node
    change: ChannelMap


class Affine(Layer):
    """Norms in eval mode, and additions and multiplications of constants."""

    targets: ClassVar[frozenset[Any]] = frozenset(
        {
            *NORMS,
            channelwise,
            *_ADD,
            *_SUBTRACT,
            *_SUBTRACT_FROM,
            *_MULTIPLY,
            *_DIVIDE,
            aten.neg.default,
        }
    )

    def behind(self, route: Route, node: fx.Node, wanted: ChannelMap) -> Plan | str:
        """Become one map with the one that is wanted."""
        reading = read_affine(route.network, node)
        if not isinstance(reading, Reading):
            return reading or "it computes with another value"
        composed = wanted.after(reading.change)
        if not composed.is_finite:
            return "the two maps in a row overflow"
        return Plan((Remapped(node, composed),))

    def ahead(self, route: Route, node: fx.Node, source: fx.Node, owed: ChannelMap) -> Plan | str:
        """Become one map with the one that is owed."""
        reading = read_affine(route.network, node)
        if not isinstance(reading, Reading):
            return reading or "it computes with another value"
        composed = reading.change.after(owed)
        if not composed.is_finite:
            return "the two maps in a row overflow"
        return Plan((Remapped(node, composed),))


def read_affine(network: Network, node: fx.Node) -> Reading | str | None:
    """Return an operator as a map; or why a norm is none; or None for everything else."""
    if node.op != "call_function":
        return None
    if node.target in NORMS or batch_norm_obstacle(node) is not None:
        return _read_norm(network, node)
    if node.target is channelwise:
        scale, shift = (network.constant(arg) for arg in node.args[1:])
        assert scale is not None
        assert shift is not None
        return Reading(input_of(node), ChannelMap.of(scale, shift))
    if node.target in Affine.targets and _keeps_shape(node):
        return _read_arithmetic(network, node)
    return None


def _read_norm(network: Network, node: fx.Node) -> Reading | str:
    if obstacle := batch_norm_obstacle(node):
        return obstacle
    if node.target is aten.instance_norm.default and argument(node, "use_input_stats"):
        return "it normalizes every image by its own statistics"
    nodes = {name: argument(node, name) for name in ("weight", "bias")}
    tensors = {name: network.constant(value) for name, value in nodes.items()}
    mean = network.constant(argument(node, "running_mean"))
    var = network.constant(argument(node, "running_var"))
    computed = [name for name in nodes if nodes[name] is not None and tensors[name] is None]
    if mean is None or var is None or computed:
        return "its statistics, weight or bias are computed in the forward, not stored"
    weight, bias = tensors["weight"], tensors["bias"]
    scale = (var + float(argument(node, "eps"))).rsqrt()
    scale = scale if weight is None else weight * scale
    shift = -mean * scale if bias is None else bias - mean * scale
    change = ChannelMap.on_axis(scale, shift, 1, len(sizes_of(node)))
    if not change.is_finite:
        return "its statistics, weight or bias hold NaN, infinity or a negative variance"
    return Reading(input_of(node), change)


def _keeps_shape(node: fx.Node) -> bool:
    value = node.meta.get("val")
    sources = [arg for arg in node.args if isinstance(arg, fx.Node) and arg.op != "get_attr"]
    if len(sources) != 1 or not isinstance(value, Tensor):
        return False
    read = sources[0].meta.get("val")
    return (
        isinstance(read, Tensor)
        and value.dtype == read.dtype
        and value.dtype.is_floating_point
        and len(value.shape) == len(read.shape)
        and all(_same(a, b) for a, b in zip(value.shape, read.shape, strict=True))
    )


def _same(first: object, second: object) -> bool:
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return first is second or bool(statically_known_true(first == second))


def _read_arithmetic(network: Network, node: fx.Node) -> Reading | None:
    axes = len(sizes_of(node))
    if node.target is aten.neg.default:
        return Reading(input_of(node), _map(axes, -1.0, 0.0))
    if node.kwargs.get("rounding_mode") is not None:
        return None
    left, right = node.args[0], node.args[1]
    if node.target in _SUBTRACT_FROM:
        left, right = right, left
    weighed = node.target in (*_ADD, *_SUBTRACT, *_SUBTRACT_FROM)
    alpha = float(argument(node, "alpha")) if weighed else 1.0
    first = isinstance(left, fx.Node) and left.op != "get_attr"
    source, other = (left, right) if first else (right, left)
    assert isinstance(source, fx.Node)
    number = _number(network, other, axes)
    if number is None:
        return None
    scale: Tensor | float
    shift: Tensor | float
    if node.target in _ADD:
        scale, shift = (1.0, number * alpha) if first else (alpha, number)
    elif node.target in (*_SUBTRACT, *_SUBTRACT_FROM):
        scale, shift = (1.0, -number * alpha) if first else (-alpha, number)
    elif node.target in _MULTIPLY:
        scale, shift = number, 0.0
    elif first:
        scale, shift = 1 / number, 0.0
    else:
        return None
    change = _map(axes, scale, shift)
    return Reading(source, change) if change.is_finite else None


def _number(network: Network, value: object, axes: int) -> Tensor | None:
    """Return a constant operand in float64, with as many axes as the value it meets."""
    if isinstance(value, bool | complex):
        return None
    if isinstance(value, int | float):
        return torch.full([1] * axes, float(value), dtype=torch.float64)
    tensor = network.constant(value)
    if tensor is None or tensor.dim() > axes or tensor.dtype.is_complex:
        return None
    return tensor.double().reshape([1] * (axes - tensor.dim()) + list(tensor.shape))


def _map(axes: int, scale: Tensor | float, shift: Tensor | float) -> ChannelMap:
    shape = [1] * axes
    tensors = [
        part if isinstance(part, Tensor) else torch.full(shape, part, dtype=torch.float64)
        for part in (scale, shift)
    ]
    return ChannelMap.of(*tensors)
