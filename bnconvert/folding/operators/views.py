"""Operators that only arrange numbers anew: reshaping, permuting, copying, repeating.

A map is arranged likewise. Through a reshaping, axes go together in the smallest groups whose
sizes multiply to the same number before and after; where the map does not vary within a group,
the group's sizes may be dynamic. Where it does, it repeats after some number of positions, and
goes on doing so: (N, heads * C) becomes (N * heads, C), with each head's part in turn.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

from torch import fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.graph_plan import Verdict
from bnconvert.folding.operators.operator_rule import (
    OperatorRule,
    Propagator,
    are_equal,
    input_of,
    sizes_of,
)
from bnconvert.graphs.aten import argument, aten
from bnconvert.numerics.channel_map import ChannelMap

_DYNAMIC = Refusal(
    "dynamic-size", "it varies along an axis that is reshaped and whose size is dynamic"
)
_COPIES = {
    aten.clone.default,
    aten.contiguous.default,
    aten.alias.default,
    aten.detach.default,
    aten.lift_fresh_copy.default,
}


class Reshaping(OperatorRule):
    """Views, flattening, squeezing, and copies."""

    targets: ClassVar[frozenset[Any]] = frozenset(
        {
            *_COPIES,
            aten.view.default,
            aten._unsafe_view.default,
            aten.reshape.default,
            aten.flatten.using_ints,
            aten.unflatten.int,
            aten.unsqueeze.default,
            aten.squeeze.default,
            aten.squeeze.dim,
            aten.squeeze.dims,
        }
    )
    takes_repeating: ClassVar[bool] = True

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Propagate the map into the producer, reshaped."""
        source = input_of(node)
        moved = reshaped(output_map, sizes_of(node), sizes_of(source))
        return (
            moved if isinstance(moved, Refusal) else propagator.into_producer(source, node, moved)
        )

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Propagate the map into the consumers, reshaped."""
        moved = reshaped(input_map, sizes_of(source), sizes_of(node))
        return moved if isinstance(moved, Refusal) else propagator.into_consumers(node, moved)


class Permutation(OperatorRule):
    """Permutations of axes."""

    targets: ClassVar[frozenset[Any]] = frozenset(
        {aten.permute.default, aten.transpose.int, aten.t.default}
    )
    takes_repeating: ClassVar[bool] = True

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Propagate the map into the producer, its axes permuted back."""
        order = _order(node)
        back = [order.index(axis) for axis in range(len(order))]
        return propagator.into_producer(
            input_of(node), node, output_map.each(lambda t: t.permute(back))
        )

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Propagate the map into the consumers, its axes permuted."""
        order = _order(node)
        return propagator.into_consumers(node, input_map.each(lambda t: t.permute(order)))


class Repetition(OperatorRule):
    """Expansion of axes of size 1."""

    targets: ClassVar[frozenset[Any]] = frozenset({aten.expand.default})

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Propagate the map into the producer unless it varies along a repeated axis."""
        source = input_of(node)
        missing = output_map.axes - len(sizes_of(source))
        sizes = [1] * missing + sizes_of(source)
        if any(size == 1 and output_map.varies_along(axis) for axis, size in enumerate(sizes)):
            return Refusal("other-axis", "it varies along an axis on which a value is repeated")
        moved = output_map.each(lambda t: t.reshape(t.shape[missing:]))
        return propagator.into_producer(source, node, moved)

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Propagate the map into the consumers."""
        return propagator.into_consumers(node, input_map.lifted(len(sizes_of(node))))


def reshaped(
    change: ChannelMap, before: Sequence[Any], after: Sequence[Any]
) -> ChannelMap | Refusal:
    """Return a map of a value of sizes `before` as one of the same numbers in sizes `after`."""
    counts, times, shape = list[int](), list[int](), list[int]()
    wide = change
    for old, new in _groups(before, after):
        if not any(change.varies_along(axis) for axis in old):
            counts, times, shape = [*counts, 1], [*times, 1], [*shape, *[1] * len(new)]
            continue
        for axis in old:
            size = before[axis] if isinstance(before[axis], int) else _period(change, axis)
            wide = wide.widened(axis, size)
        count = prod(wide.scale.shape[axis] for axis in old)
        sizes = _regrouped([before[a] for a in old], [after[a] for a in new], count)
        if isinstance(sizes, Refusal):
            return sizes
        again = prod(sizes) // count if count else 1
        counts, times, shape = [*counts, count], [*times, again], [*shape, *sizes]
    return wide.each(lambda t: t.reshape(counts).repeat(times).reshape(shape))


def _period(change: ChannelMap, axis: int) -> int:
    """Return after how many positions a map is the same again along an axis of dynamic size."""
    return max(change.scale.shape[axis], change.shift.shape[axis])


def _regrouped(before: Sequence[Any], after: Sequence[Any], count: int) -> list[int] | Refusal:
    """Return the sizes, after a reshaping, of a map of a group of axes.

    Args:
        before: the group's sizes.
        after: its sizes afterwards.
        count: how many numbers the map has before; with a dynamic size they repeat.
    """
    if all(isinstance(size, int) for size in (*before, *after)):
        return [int(size) for size in after]
    large = (not isinstance(size, int) or size != 1 for size in after)
    first = next((i for i, is_large in enumerate(large) if is_large), 0)
    rest = [size for size in after[first + 1 :] if isinstance(size, int)]
    row = prod(rest)
    longer = max(count, row)
    leads = _leads(before) and _leads(after)
    if not leads or 0 in (count, row) or longer % count or longer % row:
        return _DYNAMIC
    return [*[1] * first, longer // row, *rest]


def _leads(sizes: Sequence[Any]) -> bool:
    """Tell whether only the first size, of those that are not 1, is dynamic."""
    large = [size for size in sizes if not isinstance(size, int) or size != 1]
    dynamic = [not isinstance(size, int) for size in large]
    return dynamic[:1] == [True] and not any(dynamic[1:])


def _groups(before: Sequence[Any], after: Sequence[Any]) -> list[tuple[list[int], list[int]]]:
    """Divide the axes of two shapes of the same numbers into the smallest matching groups."""
    ends_before, ends_after = _products(before), _products(after)
    groups: list[tuple[list[int], list[int]]] = []
    first_old = first_new = 0
    for old, product in enumerate(ends_before):
        for new in range(first_new, len(ends_after)):
            if are_equal(product, ends_after[new]):
                groups.append((list(range(first_old, old + 1)), list(range(first_new, new + 1))))
                first_old, first_new = old + 1, new + 1
                break
    if first_old < len(before) or first_new < len(after):
        rest = list(range(first_old, len(before))), list(range(first_new, len(after)))
        if groups:  # only axes of size 1 are left
            groups[-1] = groups[-1][0] + rest[0], groups[-1][1] + rest[1]
        else:
            groups.append(rest)
    return groups


def _products(sizes: Sequence[Any]) -> list[Any]:
    products: list[Any] = []
    total: Any = 1
    for size in sizes:
        total = total * size
        products.append(total)
    return products


def _order(node: fx.Node) -> list[int]:
    axes = len(sizes_of(node))
    if node.target is aten.permute.default:
        return [axis % axes for axis in argument(node, "dims")]
    order = list(range(axes))
    if node.target is aten.t.default:
        return order[::-1]
    one, two = argument(node, "dim0") % axes, argument(node, "dim1") % axes
    order[one], order[two] = two, one
    return order
