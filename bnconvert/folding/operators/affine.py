"""Operators that are a scale and a shift: norms in eval mode, and arithmetic with constants.

s (s' x + t') + t = (s s') x + (s t' + t): two in a row are one.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.graph_plan import GraphPlan, Remapped, Verdict
from bnconvert.folding.operators.operator_rule import (
    OperatorRule,
    Propagator,
    are_equal,
    input_of,
    sizes_of,
)
from bnconvert.graphs.aten import NORMS, argument, aten, batch_norm_obstacle
from bnconvert.graphs.mutable_graph import MutableGraph, channelwise
from bnconvert.numerics.channel_map import ChannelMap

_ADD = (aten.add.Tensor, aten.add.Scalar)
_SUBTRACT = (aten.sub.Tensor, aten.sub.Scalar)
_SUBTRACT_FROM = (aten.rsub.Scalar, aten.rsub.Tensor)
_MULTIPLY = (aten.mul.Tensor, aten.mul.Scalar)
_DIVIDE = (aten.div.Tensor, aten.div.Scalar)
_COMPUTED = Refusal("not-affine", "it computes with another value")
#: Factors beyond it, or below its inverse, are not moved. In a loop of products they grow with
#: every turn, and a value that is freed of one has as many powers of ten more or fewer.
_LARGEST_FACTOR = 2.0**60


@dataclass(frozen=True, eq=False)
class AffineReading:
    """An operator read as a scale and a shift.

    Attributes:
        source: what it maps.
        change: the map.
    """

    source: fx.Node
    change: ChannelMap


class AffineRule(OperatorRule):
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

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Compose both maps in this operator."""
        reading = read_affine(propagator.graph, node)
        if not isinstance(reading, AffineReading):
            return reading or _COMPUTED
        return plan_new_map(node, output_map.after(reading.change))

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Compose both maps in this operator."""
        reading = read_affine(propagator.graph, node)
        if not isinstance(reading, AffineReading):
            return reading or _COMPUTED
        return plan_new_map(node, reading.change.after(input_map))


def plan_new_map(node: fx.Node, change: ChannelMap) -> Verdict:
    """Return the plan to give an affine operator another map, or why it cannot have it."""
    dtype = node.meta["val"].dtype
    if not (change.is_finite_in(dtype) and change.is_within(_LARGEST_FACTOR)):
        return Refusal("composition-overflows", f"the two maps in a row leave the range of {dtype}")
    return GraphPlan((Remapped(node, change),))


def read_affine(graph: MutableGraph, node: fx.Node) -> AffineReading | Refusal | None:
    """Return an operator as a map; or why a norm is none; or None for everything else."""
    if node.op != "call_function":
        return None
    if node.target in NORMS or batch_norm_obstacle(node) is not None:
        return _read_norm(graph, node)
    if node.target is channelwise:
        scale, shift = (graph.constant(arg) for arg in node.args[1:])
        assert scale is not None
        assert shift is not None
        return AffineReading(input_of(node), ChannelMap.of(scale, shift))
    if node.target in AffineRule.targets and _keeps_shape(node):
        return _read_arithmetic(graph, node)
    return None


def _read_norm(graph: MutableGraph, node: fx.Node) -> AffineReading | Refusal:
    if obstacle := batch_norm_obstacle(node):
        return obstacle
    if node.target is aten.instance_norm.default and argument(node, "use_input_stats"):
        return Refusal("image-statistics", "it normalizes every image by its own statistics")
    nodes = {name: argument(node, name) for name in ("weight", "bias")}
    tensors = {name: graph.constant(value) for name, value in nodes.items()}
    mean = graph.constant(argument(node, "running_mean"))
    var = graph.constant(argument(node, "running_var"))
    computed = [name for name in nodes if nodes[name] is not None and tensors[name] is None]
    if mean is None or var is None or computed:
        return Refusal(
            "computed-in-forward",
            "its statistics, weight or bias are computed in the forward, not stored",
        )
    weight, bias = tensors["weight"], tensors["bias"]
    scale = (var + float(argument(node, "eps"))).rsqrt()
    scale = scale if weight is None else weight * scale
    shift = -mean * scale if bias is None else bias - mean * scale
    change = ChannelMap.on_axis(scale, shift, 1, len(sizes_of(node)))
    if not change.is_finite:
        return Refusal(
            "not-finite", "its statistics, weight or bias hold NaN, infinity or a negative variance"
        )
    return AffineReading(input_of(node), change)


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
        and all(are_equal(a, b) for a, b in zip(value.shape, read.shape, strict=True))
    )


def _read_arithmetic(graph: MutableGraph, node: fx.Node) -> AffineReading | None:
    axes = len(sizes_of(node))
    if node.target is aten.neg.default:
        return AffineReading(input_of(node), _channel_map(axes, -1.0, 0.0))
    if node.kwargs.get("rounding_mode") is not None:
        return None
    left, right = node.args[0], node.args[1]
    if node.target in _SUBTRACT_FROM:
        left, right = right, left
    weighed = node.target in (*_ADD, *_SUBTRACT, *_SUBTRACT_FROM)
    alpha = argument(node, "alpha") if weighed else 1.0
    if isinstance(alpha, fx.Node):
        return None
    first = isinstance(left, fx.Node) and left.op != "get_attr"
    source, other = (left, right) if first else (right, left)
    assert isinstance(source, fx.Node)
    number = _number(graph, other, axes)
    if number is None:
        return None
    scale: Tensor | float
    shift: Tensor | float
    if node.target in _ADD:
        scale, shift = (1.0, number * alpha) if first else (float(alpha), number)
    elif node.target in (*_SUBTRACT, *_SUBTRACT_FROM):
        scale, shift = (1.0, -number * alpha) if first else (-float(alpha), number)
    elif node.target in _MULTIPLY:
        scale, shift = number, 0.0
    elif first:
        scale, shift = 1 / number, 0.0
    else:
        return None
    change = _channel_map(axes, scale, shift)
    return AffineReading(source, change) if change.is_finite else None


def _number(graph: MutableGraph, value: object, axes: int) -> Tensor | None:
    """Return a constant operand in float64, with as many axes as the value it meets."""
    if isinstance(value, bool | complex):
        return None
    if isinstance(value, int | float):
        return torch.full([1] * axes, float(value), dtype=torch.float64, device="cpu")
    tensor = graph.constant(value)
    if tensor is None or tensor.dim() > axes or tensor.dtype.is_complex:
        return None
    return tensor.double().reshape([1] * (axes - tensor.dim()) + list(tensor.shape))


def _channel_map(rank: int, scale: Tensor | float, shift: Tensor | float) -> ChannelMap:
    """Return the map of a value with `rank` axes."""
    shape = [1] * rank
    tensors = [
        part
        if isinstance(part, Tensor)
        else torch.full(shape, part, dtype=torch.float64, device="cpu")
        for part in (scale, shift)
    ]
    return ChannelMap.of(*tensors)
