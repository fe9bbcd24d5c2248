"""Pooling: averages commute with every map, maxima with those whose scale is positive.

An average over a window that reaches over the border counts zeros there (count_include_pad), which
are not mapped: the multiplication commutes, the addition does not. Max pooling pads with minus
infinity, which no map of positive scale makes the largest.
"""

from typing import Any, ClassVar

from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.graph_plan import Verdict
from bnconvert.folding.operators.operator_rule import OperatorRule, Propagator, input_of, sizes_of
from bnconvert.graphs.aten import argument, aten
from bnconvert.numerics.channel_map import ChannelMap

_MEANS = {aten.mean.dim}
_AVERAGES = {aten.avg_pool1d.default, aten.avg_pool2d.default, aten.avg_pool3d.default}
_ADAPTIVE = {
    aten.adaptive_avg_pool1d.default,
    aten.adaptive_avg_pool2d.default,
    aten.adaptive_avg_pool3d.default,
    aten._adaptive_avg_pool2d.default,
    aten._adaptive_avg_pool3d.default,
}
_MAXIMA = {aten.max_pool1d.default, aten.max_pool2d.default, aten.max_pool3d.default}
_REDUCED_MAXIMA = {aten.amax.default}
_OWN_DIVISOR = Refusal("addition-does-not-pass", "average pooling with a divisor of its own")


class Pooling(OperatorRule):
    """Average and maximum pooling, adaptive averages, means and maxima over axes."""

    targets: ClassVar[frozenset[Any]] = frozenset(
        _MEANS | _AVERAGES | _ADAPTIVE | _MAXIMA | _REDUCED_MAXIMA
    )

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Propagate the map into the producer."""
        source = input_of(node)
        if refusal := _refusal(node, output_map):
            return refusal
        if node.target in _MEANS | _REDUCED_MAXIMA:
            kept = _with_reduced_axes(node, output_map)
            return propagator.into_producer(source, node, kept)
        pooled = _pooled_axes(node)
        if any(output_map.varies_along(axis) for axis in pooled):
            return Refusal("other-axis", "it varies from place to place of a pooled value")
        return propagator.into_producer(source, node, output_map)

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Propagate the map into the consumers."""
        if refusal := _refusal(node, input_map):
            return refusal
        if any(input_map.varies_along(axis) for axis in _pooled_axes(node)):
            return Refusal("other-axis", "it varies from place to place of a value that is pooled")
        if node.target in _MEANS | _REDUCED_MAXIMA and not argument(node, "keepdim"):
            axes = _pooled_axes(node)

            def dropped(tensor: Tensor) -> Tensor:
                return tensor.reshape([n for i, n in enumerate(tensor.shape) if i not in axes])

            return propagator.into_consumers(node, input_map.each(dropped))
        return propagator.into_consumers(node, input_map)


def _refusal(node: fx.Node, change: ChannelMap) -> Refusal | None:
    if node.target in _MAXIMA | _REDUCED_MAXIMA and not change.is_positive:
        return Refusal("scale-not-positive", "max pooling: only positive scales pass it")
    if node.target in _AVERAGES:
        if node.target is not aten.avg_pool1d.default and argument(node, "divisor_override"):
            return _OWN_DIVISOR if change.shifts else None
        padding = argument(node, "padding")
        padded = any(padding) if isinstance(padding, list | tuple) else bool(padding)
        if change.shifts and padded and argument(node, "count_include_pad"):
            return Refusal(
                "border", "average pooling counts the zeros of its padding, which get no addition"
            )
    return None


def _pooled_axes(node: fx.Node) -> list[int]:
    axes = len(sizes_of(input_of(node)))
    if node.target in _MEANS | _REDUCED_MAXIMA:
        given = argument(node, "dim")
        return [axis % axes for axis in given] if given else list(range(axes))
    spatial = next(n for n in (1, 2, 3) if f"pool{n}d" in str(node.target))
    return list(range(axes - spatial, axes))


def _with_reduced_axes(node: fx.Node, change: ChannelMap) -> ChannelMap:
    """Return a map of a mean as one of what it is the mean of."""
    if argument(node, "keepdim"):
        return change
    axes, rank = _pooled_axes(node), len(sizes_of(input_of(node)))

    def spread(tensor: Tensor) -> Tensor:
        left = iter(tensor.shape)
        return tensor.reshape([1 if axis in axes else next(left) for axis in range(rank)])

    return change.each(spread)
