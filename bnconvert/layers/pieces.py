"""Slices and splits: a piece's map is the whole's, with nothing where other pieces are read."""

import operator
from typing import Any, ClassVar

import torch
from torch import Tensor, fx

from bnconvert.graphs.aten import argument, aten, names_of, readers_of
from bnconvert.layers.layer import Layer, Route, input_of, sizes_of
from bnconvert.layers.plan import Plan, together
from bnconvert.numerics.channel_map import ChannelMap

_SPLITS = (aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default)


class Piece(Layer):
    """Slices, and the parts of a split."""

    targets: ClassVar[frozenset[Any]] = frozenset({aten.slice.Tensor, operator.getitem})

    def behind(self, route: Route, node: fx.Node, wanted: ChannelMap) -> Plan | str:
        """Hand the map up, as one that leaves all other pieces as they are."""
        found = _place(node)
        if isinstance(found, str):
            return found
        source, axis, picked = found
        pieces = _pieces_of(source)
        if pieces == {node} and not wanted.varies_along(axis):
            reader = node if node.target is aten.slice.Tensor else input_of(node)
            return route.upward(source, reader, wanted)
        if picked is None:
            return "it is a piece of an axis of dynamic size"
        overlapping = {other for other in pieces if _meets(other, node, axis, picked)}
        if overlapping:
            return f"its input is also read by {names_of(overlapping)}"
        return route.behind(source, _as_whole(wanted, axis, sizes_of(source)[axis], picked))

    def ahead(self, route: Route, node: fx.Node, source: fx.Node, owed: ChannelMap) -> Plan | str:
        """Hand the piece's part of the map down."""
        found = _place(node)
        if isinstance(found, str):
            return found
        _, axis, picked = found
        if not owed.varies_along(axis):
            return route.downward(node, owed)
        if picked is None:
            return "it is a piece of an axis of dynamic size"
        wide = owed.widened(axis, sizes_of(source)[axis])
        return route.downward(node, wide.each(lambda t: t.index_select(axis, picked)))


class Split(Layer):
    """A split as a whole: its parts are what maps pass through."""

    targets: ClassVar[frozenset[Any]] = frozenset(_SPLITS)

    def behind(self, route: Route, node: fx.Node, wanted: ChannelMap) -> Plan | str:
        """Refuse: only parts are mapped."""
        return "it is a list of pieces"

    def ahead(self, route: Route, node: fx.Node, source: fx.Node, owed: ChannelMap) -> Plan | str:
        """Let every part hand its share down."""
        parts = readers_of(node)
        if any(part.target is not operator.getitem for part in parts):
            return "a list of pieces that is read as a whole"
        return together(Piece().ahead(route, part, source, owed) for part in parts)


def _place(node: fx.Node) -> tuple[fx.Node, int, Tensor | None] | str:
    """Return what a piece is cut from, along which axis, and which positions it has."""
    if node.target is operator.getitem:
        split = input_of(node)
        if split.target not in _SPLITS:
            return f"it is one of the results of {split.target}"
        source = input_of(split)
        axis = int(argument(split, "dim")) % len(sizes_of(source))
        sizes = [part.shape[axis] for part in split.meta["val"]]
        index = int(node.args[1])  # type: ignore[arg-type]
        if not all(isinstance(size, int) for size in sizes):
            return source, axis, None
        start = sum(sizes[:index])
        return source, axis, torch.arange(start, start + sizes[index])
    source = input_of(node)
    axis = int(argument(node, "dim")) % len(sizes_of(source))
    size = sizes_of(source)[axis]
    bounds = [argument(node, name) for name in ("start", "end", "step")]
    if not isinstance(size, int) or not all(b is None or isinstance(b, int) for b in bounds):
        return source, axis, None
    return source, axis, torch.arange(size)[slice(*bounds)]


def _pieces_of(source: fx.Node) -> set[fx.Node]:
    """Return every reader of a value, with the parts of a split instead of the split."""
    found: set[fx.Node] = set()
    for reader in readers_of(source):
        found |= readers_of(reader) if reader.target in _SPLITS else {reader}
    return found


def _meets(other: fx.Node, node: fx.Node, axis: int, picked: Tensor) -> bool:
    """Tell whether another reader of the source reads a position that `node` reads."""
    if other is node:
        return False
    if other.target not in Piece.targets:
        return True
    found = _place(other)
    if isinstance(found, str) or found[1] != axis or found[2] is None:
        return True
    return bool(torch.isin(found[2], picked).any())


def _as_whole(change: ChannelMap, axis: int, size: int, picked: Tensor) -> ChannelMap:
    """Return a piece's map as one of the whole: nothing happens at other positions."""

    def filled(tensor: Tensor, rest: float) -> Tensor:
        shape = list(tensor.shape)
        shape[axis] = size
        whole = torch.full(shape, rest, dtype=torch.float64)
        shape[axis] = len(picked)
        return whole.index_copy(axis, picked, tensor.expand(shape))

    return ChannelMap.of(filled(change.scale, 1.0), filled(change.shift, 0.0))
