"""The inputs to compare on: the user's own rows, and generated ones like them, in one pool."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from bnconvert.graphs.example import Example

_Answer = TypeVar("_Answer")
Rows = tuple[int, ...]
_GENERATED = 2  # rows in addition to the given ones
_MANY_ROWS = 33  # odd, and more than any batch that kernels treat specially
_SMALL = 2**12  # numbers in a row up to which so many rows cost nothing
_DOUBLED = 8  # given rows up to which twice as many are compared
_LARGE = 2**15  # numbers in a row above which it is an image: fewer batches are compared
_TABLE = 2  # axes
_GREY, _WHITE = 128, 255
_PLAIN = (1.0, 3.0, 10.0, -10.0)
_COLOURS = 4  # up to so many numbers a pixel has
_STRONGER = (3.0, 10.0, -10.0, 100.0, 0.0)


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
            wide = _filled(example, _free(example, _most_rows(example, own), 1), generator)
            return cls(wide, tuple(_of_any_size(wide, own)))
        chunks = -(-own // size) + 1  # the last one is all generated
        wide = _filled(example, _free(example, chunks * size, size), generator)
        return cls(wide, tuple(_of_one_size(wide, own, size)))

    @property
    def size(self) -> int:
        """How many rows there are."""
        return self.example.batch or 0

    @property
    def is_large(self) -> bool:
        """Whether a row is an image, so that forwards are what a comparison costs."""
        return bool(self.size) and _numbers_in_a_row(self.example, self.size) > _LARGE

    @property
    def few_rows(self) -> Example:
        """The first and the last rows in one batch, where that is a case; else the given inputs."""
        for case in self.cases:
            if len(case.rows) in (2, 3, 4) and case.rows[-1] == self.size - 1:
                return case.example
        return self.cases[0].example


def _most_rows(example: Example, own: int) -> int:
    """Return how many rows to compare in one batch: more where that costs little."""
    if _numbers_in_a_row(example, own) <= _SMALL:
        return max(own + _GENERATED, _MANY_ROWS)
    return max(own + _GENERATED, 2 * own + 1 if own <= _DOUBLED else 0)


def _numbers_in_a_row(example: Example, own: int) -> int:
    return sum(t.numel() for t in example.tensors()) // own


def _of_any_size(wide: Example, own: int) -> Iterator[Case]:
    """Yield cases of other batch sizes: 1, 2, odd ones, multiples, and a larger one.

    What a model computes for a batch size may depend on whether it is a multiple of something.
    """
    size = wide.batch or 0
    given = tuple(range(own))
    yield Case(f"given inputs, batch {own}", wide.rows(given), given, True)
    if own != 1:
        yield Case("given rows, batch 1", wide.rows([0]), (0,), True)
    if own != 2:
        yield Case("mixed rows, batch 2", wide.rows([0, size - 1]), (0, size - 1), False)
    large = _numbers_in_a_row(wide, size) > _LARGE
    others = {2 * own} if large else {3, 8, 32, own + _GENERATED, 2 * own}
    for count in sorted(others - {1, 2, own, size}):
        if count < size:
            rows = (*range(count - 1), size - 1)
            origin = "mixed" if count <= own else "given and generated"
            yield Case(f"{origin} rows, batch {count}", wide.rows(rows), rows, False)
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
    """Return a batch size that is not by chance the first axis of a given tensor."""
    others = {t.shape[0] for t in example.tensors() if t.dim()}
    return next(n for n in range(least, least + step * (len(others) + 1), step) if n not in others)


def given_only(answers: Mapping[Case, _Answer]) -> dict[Case, _Answer]:
    """Return the answers to given numbers; to the first case where a batch has generated ones."""
    found = {case: answer for case, answer in answers.items() if case.given}
    return found or dict([*answers.items()][:1])


def stronger(example: Example, generator: torch.Generator) -> Iterator[Case]:
    """Yield inputs far from the given ones, which may move an output that these do not.

    Noise has the same average everywhere, and so have the features of an image that is noise: first
    come images of one colour each, by which a class or the place of a maximum changes.
    """
    if any(map(_is_image, example.tensors())):
        for factor in _PLAIN:
            plain = example.like(generator).map(_plain).map(partial(_scaled, factor))
            name = f"generated, of one colour each, {factor:g} times as large"
            yield Case(name, plain, (), False)
    for factor in _STRONGER:
        scaled = example.like(generator).map(partial(_scaled, factor))
        name = "zeros" if factor == 0 else f"generated, {factor:g} times as large"
        yield Case(name, scaled, (), False)


def _scaled(factor: float, tensor: Tensor) -> Tensor:
    """Return numbers multiplied by a factor; pixels, which have a largest number, saturated."""
    if tensor.dtype == torch.uint8 and _is_image(tensor) and abs(factor) != 1:
        light = (tensor >= _GREY) if factor > 0 else (tensor < _GREY)
        return light.to(tensor) * _WHITE if factor else torch.zeros_like(tensor)
    return tensor * factor if tensor.is_floating_point() else tensor


def _is_image(tensor: Tensor) -> bool:
    """Tell whether a tensor may be images or signals: no indices, and more than rows of numbers."""
    return tensor.dim() > _TABLE and (tensor.is_floating_point() or tensor.dtype == torch.uint8)


def _plain(tensor: Tensor) -> Tensor:
    """Return images with one of their own pixels at every place."""
    if not _is_image(tensor) or not tensor.numel():
        return tensor
    kept = [slice(None) if size <= _COLOURS else slice(1) for size in tensor.shape[1:]]
    return tensor[(slice(None), *kept)].expand_as(tensor).contiguous()
