"""Slices and the parts of a split: a map of one is a map of the whole, identity elsewhere."""

import operator
from typing import Any, ClassVar

import torch
from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.graph_plan import Verdict, combined
from bnconvert.folding.operators.operator_rule import OperatorRule, Propagator, input_of, sizes_of
from bnconvert.graphs.aten import argument, aten, consumers_of, names_of
from bnconvert.numerics.channel_map import ChannelMap

_SPLITS = (aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default)


class Slicing(OperatorRule):
    """Slices, and the parts of a split."""

    targets: ClassVar[frozenset[Any]] = frozenset({aten.slice.Tensor, operator.getitem})
    takes_repeating: ClassVar[bool] = True

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Propagate the map into the producer, as the identity on all other pieces."""
        found = _place(node)
        if isinstance(found, Refusal):
            return found
        source, axis, picked = found
        pieces = _pieces_of(source)
        if pieces == {node} and not output_map.varies_along(axis):
            consumer = node if node.target is aten.slice.Tensor else input_of(node)
            return propagator.into_producer(source, consumer, output_map)
        if picked is None:
            return Refusal("dynamic-size", "it is a piece of an axis of dynamic size")
        overlapping = {other for other in pieces if _meets(other, node, axis, picked)}
        if overlapping:
            return Refusal("other-consumers", f"its input is also read by {names_of(overlapping)}")
        return propagator.absorb_output_map(
            source, _as_whole(output_map, axis, sizes_of(source)[axis], picked)
        )

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Propagate the part of the map that belongs to the piece into its consumers."""
        found = _place(node)
        if isinstance(found, Refusal):
            return found
        _, axis, picked = found
        if not input_map.varies_along(axis):
            return propagator.into_consumers(node, input_map)
        if picked is None:
            return Refusal("dynamic-size", "it is a piece of an axis of dynamic size")
        wide = input_map.widened(axis, sizes_of(source)[axis])
        return propagator.into_consumers(node, wide.each(lambda t: t.index_select(axis, picked)))


class Split(OperatorRule):
    """A split as a whole: its parts are what maps pass through."""

    targets: ClassVar[frozenset[Any]] = frozenset(_SPLITS)
    takes_repeating: ClassVar[bool] = True

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Refuse: only parts are mapped."""
        return Refusal("unsupported-operator", "it is a list of pieces")

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Propagate the map into the consumers of every part."""
        parts = consumers_of(node)
        if any(part.target is not operator.getitem for part in parts):
            return Refusal("unsupported-operator", "a list of pieces that is read as a whole")
        return combined(
            Slicing().absorb_input_map(propagator, part, source, input_map) for part in parts
        )


def _place(node: fx.Node) -> tuple[fx.Node, int, Tensor | None] | Refusal:
    """Return what a piece is cut from, along which axis, and which positions it has."""
    if node.target is operator.getitem:
        split = input_of(node)
        if split.target not in _SPLITS:
            return Refusal("unsupported-operator", f"it is one of the results of {split.target}")
        source = input_of(split)
        axis = int(argument(split, "dim")) % len(sizes_of(source))
        sizes = [part.shape[axis] for part in split.meta["val"]]
        index = int(node.args[1])  # type: ignore[arg-type]
        if not all(isinstance(size, int) for size in sizes):
            return source, axis, None
        start = sum(sizes[:index])
        return source, axis, torch.arange(start, start + sizes[index], device="cpu")
    source = input_of(node)
    axis = int(argument(node, "dim")) % len(sizes_of(source))
    size = sizes_of(source)[axis]
    bounds = [argument(node, name) for name in ("start", "end", "step")]
    if not isinstance(size, int) or not all(b is None or isinstance(b, int) for b in bounds):
        return source, axis, None
    return source, axis, torch.arange(size, device="cpu")[slice(*bounds)]


def _pieces_of(source: fx.Node) -> set[fx.Node]:
    """Return every consumer of a value, with the parts of a split instead of the split."""
    found: set[fx.Node] = set()
    for consumer in consumers_of(source):
        found |= consumers_of(consumer) if consumer.target in _SPLITS else {consumer}
    return found


def _meets(other: fx.Node, node: fx.Node, axis: int, picked: Tensor) -> bool:
    """Tell whether another consumer of the source reads a position that `node` reads."""
    if other is node:
        return False
    if other.target not in Slicing.targets:
        return True
    found = _place(other)
    if isinstance(found, Refusal) or found[1] != axis or found[2] is None:
        return True
    return bool(torch.isin(found[2], picked).any())


def _as_whole(change: ChannelMap, axis: int, size: int, picked: Tensor) -> ChannelMap:
    """Return a piece's map as one of the whole: nothing happens at other positions."""

    def filled(tensor: Tensor, rest: float) -> Tensor:
        shape = list(tensor.shape)
        shape[axis] = size
        whole = torch.full(shape, rest, dtype=torch.float64, device="cpu")
        shape[axis] = len(picked)
        return whole.index_copy(axis, picked, tensor.expand(shape))

    return ChannelMap.of(filled(change.scale, 1.0), filled(change.shift, 0.0))
