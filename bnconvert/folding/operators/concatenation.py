"""Concatenation: each part gets its share of the map."""

from typing import Any, ClassVar

import torch
from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.affine import AffineReading, read_affine
from bnconvert.folding.operators.graph_plan import Verdict, combined
from bnconvert.folding.operators.operator_rule import OperatorRule, Propagator, sizes_of
from bnconvert.graphs.aten import argument, aten, consumers_of, describe
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.channel_map import ChannelMap


class Concatenation(OperatorRule):
    """Concatenation along any axis."""

    targets: ClassVar[frozenset[Any]] = frozenset({aten.cat.default})
    takes_repeating: ClassVar[bool] = True

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Divide the map among the parts, all of which must absorb their share."""
        parts, axis, sizes = _parts(node)
        if len(set(parts)) < len(parts):
            return Refusal("value-used-twice", "it concatenates a value with itself")
        shares = [output_map] * len(parts)
        if output_map.varies_along(axis):
            if not all(isinstance(size, int) for size in sizes):
                return Refusal("dynamic-size", "it concatenates parts of dynamic size")
            wide = output_map.widened(axis, sum(sizes))
            starts = [sum(sizes[:index]) for index in range(len(sizes))]
            shares = [_share(wide, axis, s, n) for s, n in zip(starts, sizes, strict=True)]
        if not output_map.scales:
            moved = [p for p, s in zip(parts, shares, strict=True) if not s.is_identity]
            if met := _meeting(propagator.graph, node, moved):
                return Refusal("paths-meet", f"two paths from it meet again at {describe(met)}")
        return combined(
            propagator.into_producer(part, node, share)
            for part, share in zip(parts, shares, strict=True)
        )

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Propagate the map into the consumers, as the identity on the other parts."""
        parts, axis, sizes = _parts(node)
        if not all(isinstance(size, int) for size in sizes):
            return Refusal("dynamic-size", "it is concatenated with parts of dynamic size")
        none = ChannelMap.identity(input_map.axes)
        shares = [
            (input_map if part is source else none).widened(axis, size)
            for part, size in zip(parts, sizes, strict=True)
        ]
        return propagator.into_consumers(
            node,
            ChannelMap.of(
                _joined([s.scale for s in shares], axis), _joined([s.shift for s in shares], axis)
            ),
        )


def _meeting(graph: MutableGraph, node: fx.Node, parts: list[fx.Node]) -> fx.Node | None:
    """Return an operator that would have to take back the additions of two parts, or None.

    In a dense block every layer's norm reads all parts, and could take back each by itself: what
    all of them say is not needed to know that one norm cannot be given two maps.
    """
    seen: set[fx.Node] = set()
    for part in parts:
        others = [user for user in part.users if user is not node]
        for other in others:
            if other in seen and other.target is aten.cat.default:
                for consumer in consumers_of(other):
                    if isinstance(read_affine(graph, consumer), AffineReading):
                        return consumer
        seen.update(others)
    return None


def _joined(tensors: list[Tensor], axis: int) -> Tensor:
    shape = [max(sizes) for sizes in zip(*(t.shape for t in tensors), strict=True)]
    wide = []
    for tensor in tensors:
        shape[axis] = tensor.shape[axis]
        wide.append(tensor.expand(shape))
    return torch.cat(wide, axis)


def _share(change: ChannelMap, axis: int, start: int, size: int) -> ChannelMap:
    return change.each(lambda t: t.narrow(axis, start, size))


def _parts(node: fx.Node) -> tuple[list[fx.Node], int, list[Any]]:
    """Return the parts, along which axis they are joined, and how long each is there.

    Empty parts are left out; `torch.empty(0)` is one beside tensors of any number of axes.
    """
    axes, given = len(sizes_of(node)), list(node.args[0])  # type: ignore[arg-type]
    parts = [part for part in given if not _is_empty(part)]
    axis = int(argument(node, "dim")) % axes
    return parts, axis, [sizes_of(part)[axis] for part in parts]


def _is_empty(part: fx.Node) -> bool:
    return any(isinstance(size, int) and size == 0 for size in sizes_of(part))
