"""Resizing and shuffling: weights that sum to one commute with every map of the channels."""

from typing import Any, ClassVar

from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.graph_plan import Verdict
from bnconvert.folding.operators.operator_rule import OperatorRule, Propagator, input_of, sizes_of
from bnconvert.graphs.aten import argument, aten
from bnconvert.numerics.channel_map import ChannelMap


class Resizing(OperatorRule):
    """Nearest, linear and cubic interpolation, and flipping and rolling."""

    targets: ClassVar[frozenset[Any]] = frozenset(
        {aten.flip.default, aten.roll.default}
    ) | frozenset(
        overload
        for packet in (
            aten.upsample_nearest1d,
            aten.upsample_nearest2d,
            aten.upsample_nearest3d,
            aten._upsample_nearest_exact1d,
            aten._upsample_nearest_exact2d,
            aten._upsample_nearest_exact3d,
            aten.upsample_linear1d,
            aten.upsample_bilinear2d,
            aten.upsample_trilinear3d,
            aten.upsample_bicubic2d,
            aten._upsample_bilinear2d_aa,
            aten._upsample_bicubic2d_aa,
        )
        for overload in (packet.default, packet.vec)
    )

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Propagate the map into the producer."""
        if any(output_map.varies_along(axis) for axis in _moved_axes(node)):
            return Refusal("other-axis", "it varies from place to place of a resized value")
        return propagator.into_producer(input_of(node), node, output_map)

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Propagate the map into the consumers."""
        if any(input_map.varies_along(axis) for axis in _moved_axes(node)):
            return Refusal("other-axis", "it varies from place to place of a value that is resized")
        return propagator.into_consumers(node, input_map)


def _moved_axes(node: fx.Node) -> list[int]:
    """Return along which axes a resizing mixes or moves numbers."""
    axes = len(sizes_of(node))
    if node.target in (aten.flip.default, aten.roll.default):
        return [axis % axes for axis in argument(node, "dims")] or list(range(axes))
    return list(range(2, axes))


class Shuffling(OperatorRule):
    """Pixel shuffle and its inverse, and channel shuffle."""

    targets: ClassVar[frozenset[Any]] = frozenset(
        {aten.pixel_shuffle.default, aten.pixel_unshuffle.default, aten.channel_shuffle.default}
    )

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Propagate the map into the producer, its channels in their order there."""
        source = input_of(node)
        moved = _moved(node, output_map, sizes_of(node), back=True)
        return (
            moved if isinstance(moved, Refusal) else propagator.into_producer(source, node, moved)
        )

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Propagate the map into the consumers, its channels in their order there."""
        moved = _moved(node, input_map, sizes_of(source), back=False)
        return moved if isinstance(moved, Refusal) else propagator.into_consumers(node, moved)


def _moved(
    node: fx.Node, change: ChannelMap, sizes: list[Any], *, back: bool
) -> ChannelMap | Refusal:
    axis = -1 if node.target is aten.channel_shuffle.default else -3
    axis = 1 if axis == -1 else change.axes - 3
    if any(change.varies_along(other) for other in range(change.axes) if other != axis):
        return Refusal(
            "other-axis", "it varies along another axis than the channels that are shuffled"
        )
    wide = change.widened(axis, int(sizes[axis]))
    if node.target is aten.channel_shuffle.default:
        groups = int(argument(node, "groups"))
        columns = int(sizes[axis]) // groups
        rows = (columns, groups) if back else (groups, columns)
        return wide.each(lambda t: _transposed(t, axis, rows) if t.shape[axis] > 1 else t)
    name = "upscale_factor" if node.target is aten.pixel_shuffle.default else "downscale_factor"
    square = int(argument(node, name)) ** 2
    if (node.target is aten.pixel_shuffle.default) == back:
        return wide.each(lambda t: t.repeat_interleave(square, axis))
    channels = int(sizes[axis]) // square
    parts = wide.each(lambda t: t.movedim(axis, 0).reshape(channels, square))
    if parts.varies_along(1):
        return Refusal("other-axis", "it varies between channels that become pixels of one")
    shape = [1] * change.axes
    shape[axis] = channels
    return parts.each(lambda t: t.expand(channels, 1).reshape(shape))


def _transposed(tensor: Tensor, axis: int, rows: tuple[int, int]) -> Tensor:
    split = tensor.reshape(*tensor.shape[:axis], *rows, *tensor.shape[axis + 1 :])
    return split.transpose(axis, axis + 1).flatten(axis, axis + 1)
