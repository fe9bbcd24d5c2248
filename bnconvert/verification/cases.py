"""The inputs to compare on: the user's own rows, and generated ones like them, in one pool."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bnconvert.graphs.example import Example

Rows = tuple[int, ...]
_GENERATED = 2  # rows in addition to the given ones


@dataclass(frozen=True, eq=False)
class Case:
    """One input to compare on.

    Attributes:
        name: for the report: where its rows come from, and how many there are.
        example: the input.
        rows: which rows of the pool it consists of; empty where the model takes no batch.
        given: whether all its numbers are the user's.
    """

    name: str
    example: Example
    rows: Rows
    given: bool


@dataclass(frozen=True, eq=False)
class Pool:
    """All rows to compare on, in one batch: the given ones, then generated ones.

    Attributes:
        example: the batch.
        cases: the batches of some of its rows to compare on; the given inputs come first.
    """

    example: Example
    cases: tuple[Case, ...]

    @classmethod
    def of(cls, example: Example, size: int | None, generator: torch.Generator) -> "Pool":
        """Generate further rows, and divide all rows into cases.

        Args:
            example: the given inputs.
            size: the file's batch size; None where it may have any.
            generator: draws the generated rows.
        """
        own = example.batch
        if not own:
            drawn = Case("generated", example.like(generator), (), False)
            return cls(example, (Case("given inputs", example, (), True), drawn))
        if size is None:
            wide = _filled(example, _free(example, own + _GENERATED, 1), generator)
            return cls(wide, tuple(_of_any_size(wide, own)))
        chunks = -(-own // size) + 1  # the last one is all generated
        wide = _filled(example, _free(example, chunks * size, size), generator)
        return cls(wide, tuple(_of_one_size(wide, own, size)))

    @property
    def size(self) -> int:
        """How many rows there are."""
        return self.example.batch or 0


def _of_any_size(wide: Example, own: int) -> Iterator[Case]:
    """Yield cases of batch sizes 1, 2, that of the given inputs, and a larger one."""
    size = wide.batch or 0
    given = tuple(range(own))
    yield Case(f"given inputs, batch {own}", wide.rows(given), given, True)
    if own != 1:
        yield Case("given rows, batch 1", wide.rows([0]), (0,), True)
    if own != 2:
        yield Case("mixed rows, batch 2", wide.rows([0, size - 1]), (0, size - 1), False)
    yield Case(f"given and generated rows, batch {size}", wide, tuple(range(size)), False)


def _of_one_size(wide: Example, own: int, size: int) -> Iterator[Case]:
    """Yield cases of one batch size: the given rows, filled up with generated ones, and others."""
    for first in range(0, wide.batch or 0, size):
        rows = tuple(range(first, first + size))
        origin = (
            "given" if rows[-1] < own else "generated" if first >= own else "given and generated"
        )
        if own == size:
            name = "given inputs" if first == 0 else "generated"
        else:
            name = f"{origin} rows {first} to {rows[-1]}" if size > 1 else f"{origin} row {first}"
        yield Case(f"{name}, batch {size}", wide.rows(rows), rows, rows[-1] < own)


def _filled(example: Example, size: int, generator: torch.Generator) -> Example:
    """Return the given rows followed by generated ones, `size` in all."""
    own = example.batch or 1
    wide = example.rows([row % own for row in range(size)])
    drawn = iter(wide.like(generator).tensors())
    batched = iter([example.is_batched(tensor) for tensor in example.tensors()])

    def joined(tensor: Tensor) -> Tensor:
        noise = next(drawn)
        return torch.cat([tensor[:own], noise[own:]]) if next(batched) else tensor

    return wide.map(joined)


def _free(example: Example, least: int, step: int) -> int:
    """Return a batch size that is not by chance the first axis of a tensor without a batch."""
    others = {t.shape[0] for t in example.tensors() if t.dim() and not example.is_batched(t)}
    return next(n for n in range(least, least + step * (len(others) + 1), step) if n not in others)
