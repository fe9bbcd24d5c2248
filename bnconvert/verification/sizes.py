"""Other sizes: inputs for every axis that a file declares dynamic, beside the batch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from bnconvert.graphs.example import Example

#: So many sizes of an axis are compared at least, where the model takes as many.
ENOUGH = 3


@dataclass(frozen=True)
class FreeAxis:
    """An axis of a file that may have any size; several inputs may share it.

    Attributes:
        name: the file's symbol for it.
        places: which tensors of the example have it, and at which of their axes.
        given: its size in the given inputs.
    """

    name: str
    places: tuple[tuple[int, int], ...]
    given: int


def free_axes(
    shapes: Sequence[Sequence[int | str | None]], tensors: Sequence[Tensor], batch: Sequence[int]
) -> list[FreeAxis]:
    """Return the axes that a file declares dynamic, without the batch.

    Args:
        shapes: of the file's inputs, for each tensor: sizes, and symbols of dynamic axes.
        tensors: the example's.
        batch: which tensors have the batch as their first axis.
    """
    symbols = {shapes[i][0] for i in batch if shapes[i]}
    found: dict[str, list[tuple[int, int]]] = {}
    for index, shape in enumerate(shapes):
        for axis, size in enumerate(shape):
            if isinstance(size, int) or (size is not None and size in symbols):
                continue
            if axis == 0 and index in batch:
                continue
            found.setdefault(size or f"axis {axis} of input {index}", []).append((index, axis))
    return [
        FreeAxis(name, tuple(places), int(tensors[places[0][0]].shape[places[0][1]]))
        for name, places in found.items()
        if all(axis < tensors[index].dim() for index, axis in places)
    ]


@dataclass(frozen=True, eq=False)
class Resized:
    """An example in which free axes have other sizes.

    Attributes:
        sizes: by the axis's name.
        example: the input.
    """

    sizes: Mapping[str, int]
    example: Example


def resized(
    example: Example, axes: Sequence[FreeAxis], takes: Callable[[Example], bool]
) -> Iterator[Resized]:
    """Yield the example in other sizes that the model takes, until there are enough of each axis.

    The sizes are larger than given, a multiple of 32, odd, about half, and 1; where the model
    takes too few of them, multiples of the given size too. All axes change at once; where the
    model does not take that, one after the other. Before all that, axes of equal given sizes get
    different ones: a file may have one axis for another.

    Args:
        example: of few rows.
        axes: what may vary.
        takes: tells whether the model runs on an input.
    """
    seen: dict[str, set[int]] = {axis.name: {axis.given} for axis in axes}

    def attempt(sizes: Mapping[str, int]) -> Iterator[Resized]:
        other = _of_sizes(example, axes, sizes)
        if takes(other):
            for name, size in sizes.items():
                seen[name].add(size)
            yield Resized(sizes, other)

    for sizes in _apart(axes, example.batch):
        if found := [*attempt(sizes)]:
            yield from found
            break
    for turn in range(len(_first(1))):
        sizes = {axis.name: _first(axis.given)[turn] for axis in axes}
        found = [*attempt(sizes)]
        yield from found
        for name, size in sizes.items() if not found and len(axes) > 1 else ():
            yield from attempt({name: size})
    for factor in (2, 3, 4, 5):
        for axis in axes:
            if len(seen[axis.name]) < ENOUGH and axis.given:
                alike = [a for a in axes if a.given == axis.given]
                yield from attempt({a.name: factor * a.given for a in alike})


def _first(given: int) -> tuple[int, int, int, int]:
    """Return sizes to try: odd and larger, a multiple of 32, odd and smaller, 1."""
    return given + 1 + given % 2, (given // 32 + 1) * 32, (given // 2) | 1, 1


def _apart(axes: Sequence[FreeAxis], batch: int | None) -> Iterator[dict[str, int]]:
    """Yield sizes to try that are all different: odd ones, multiples of 32 and of the given."""
    given = [axis.given for axis in axes]
    if len(set(given)) == len(given):
        return
    for first, step in ((lambda g: g + 1 + g % 2, 2), (lambda g: (g // 32 + 1) * 32, 32)):
        yield _different(axes, batch, first, step)
    if all(given):
        yield {a.name: (2 + given[:i].count(a.given)) * a.given for i, a in enumerate(axes)}


def _different(
    axes: Sequence[FreeAxis], batch: int | None, first: Callable[[int], int], step: int
) -> dict[str, int]:
    """Return a size for each axis, that no other and not the batch has."""
    found: dict[str, int] = {}
    for axis in axes:
        size = first(axis.given)
        while size in (*found.values(), batch):
            size += step
        found[axis.name] = size
    return found


def were_apart(axes: Sequence[FreeAxis], others: Sequence[Resized]) -> bool:
    """Tell whether any two axes had different sizes in some of these inputs, or as given."""
    given = {axis.name: axis.given for axis in axes}
    inputs = [given, *({**given, **other.sizes} for other in others)]
    return all(any(x[a] != x[b] for x in inputs) for a, b in combinations(given, 2))


def _of_sizes(example: Example, axes: Sequence[FreeAxis], sizes: Mapping[str, int]) -> Example:
    """Return the example with its own numbers repeated, or cut off, along some axes."""
    places = {
        place: sizes[axis.name] for axis in axes if axis.name in sizes for place in axis.places
    }
    tensors = example.tensors()
    changed: dict[int, Tensor] = {}
    for (index, along), size in places.items():
        tensor = changed.get(index, tensors[index])
        chosen = torch.arange(size, device=tensor.device) % max(tensor.shape[along], 1)
        changed[index] = tensor.index_select(along, chosen) if tensor.shape[along] else tensor
    numbers = iter(range(len(tensors)))

    def other(tensor: Tensor) -> Tensor:
        return changed.get(next(numbers), tensor)

    return example.map(other)
