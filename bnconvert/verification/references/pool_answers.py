"""The answers to all rows of a pool from few forwards, which is right where rows are independent.

In float64 a forward takes two to seven times as long as in the model's own precision. So of large
rows, one is computed in float64; for the others, the model's own outputs stand in. A file that is
near enough to these is as near to float64 as it must be, whatever the model's own error there
(see `OF_OWN`); one that is not is judged again, with all rows in float64.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from bnconvert.graphs.example import Example
from bnconvert.verification.cases import Case, Pool
from bnconvert.verification.rounding.perturbation import PerturbedRows, PerturbedRuns
from bnconvert.verification.tolerance import Answers, Tolerance

_MANY = 256  # numbers of a channel in a row, whose mean error is no matter of chance


class Forwards(Protocol):
    """The forwards of a model; errors of the native ones pass through."""

    def exact_answers(self, example: Example) -> Answers | None:
        """Return the outputs in float64, as `true` and as `native`; None where it has none."""

    def native_outputs(self, example: Example) -> list[Tensor]:
        """Return the outputs in the model's own precision."""

    def nudged_outputs(self, example: Example) -> list[Tensor]:
        """Return the same on inputs perturbed by one unit in the last place."""

    def rounded_outputs(self, example: Example) -> list[Tensor] | None:
        """Return these with weights below float32 rounded anew; None where it has none."""

    def perturbed_outputs(self, example: Example, like: Example | None = None) -> PerturbedRuns:
        """Return the outputs where roundings are drawn otherwise, as large as on `like`."""


class PoolAnswers:
    """A model's answers to the cases of a pool; each forward is run once."""

    def __init__(self, forwards: Forwards, pool: Pool) -> None:
        """Run nothing yet.

        Args:
            forwards: of the model.
            pool: the rows, and the cases that consist of them.
        """
        self._forwards, self._pool = forwards, pool
        self._first = min(pool.cases, key=lambda case: len(case.rows))

    def at_once(self) -> dict[Case, Answers] | None:
        """Compute all cases from one forward over the whole pool; None where rows are dependent.

        The smallest case alone, with its inputs perturbed by one unit in the last place, must have
        the same outputs as in the pool.
        """
        try:
            exact, native = self._forwards.exact_answers(self._pool.example), self._native
            nudged = self._nudged
        except Exception:
            return None  # it does not take so many rows, or so few
        if exact is None or not have_same_shapes(exact.true, native):
            return None
        found = self._by_case(exact._replace(native=native))
        if not found or not Tolerance.of(found.values()).holds(found[self._first], nudged):
            return None
        found[self._first] = found[self._first]._replace(perturbed=self._rounded)
        return found

    def in_part(self) -> dict[Case, Answers] | None:
        """Compute the smallest case alone in float64, and in the whole pool the model's own.

        Returns:
            The answers; those to other rows are `partial`. None where that does not do: rows are
            dependent, or outputs are no numbers that rounding moves a little (see `_is_plain`).
        """
        try:
            native, nudged = self._native, self._nudged
            if not all(map(_is_plain, native)):
                return None
            exact = self._forwards.exact_answers(self._first.example)
        except Exception:
            return None
        if exact is None or not have_same_shapes(exact.true, nudged):
            return None
        rows = self._first.rows
        own = Answers(native, native).of_rows(rows, self._pool.size)
        if own is None or not have_same_shapes(own.native, nudged):
            return None
        alone = exact._replace(native=nudged)
        if not Tolerance.of([alone]).holds(alone, own.native):
            return None
        found = self._by_case(exact._replace(true=self._mixed(native, exact.true), native=native))
        assert found is not None, "every output has rows"
        for case in found:
            if not set(case.rows) <= set(rows):
                found[case] = found[case]._replace(partial=True)
        found[self._first] = exact._replace(native=own.native, perturbed=self._rounded)
        return None if Tolerance.of(found.values()).noise else found

    def perturbed(self) -> dict[Case, Iterable[list[Tensor]]]:
        """Return the perturbed outputs of each case: of large rows, the given ones by themselves.

        They are rows of a batch that is run when it is asked for.
        """
        pool, given = self._pool, self._pool.cases[0]
        whole = self._forwards.perturbed_outputs(pool.example)
        few = self._forwards.perturbed_outputs(given.example, pool.example)
        found: dict[Case, Iterable[list[Tensor]]] = {}
        for case in pool.cases:
            if pool.is_large and set(case.rows) <= set(given.rows):
                places = [given.rows.index(row) for row in case.rows]
                found[case] = PerturbedRows(few, places, len(given.rows))
            else:
                found[case] = PerturbedRows(whole, case.rows, pool.size)
        return found

    @cached_property
    def _native(self) -> list[Tensor]:
        return self._forwards.native_outputs(self._pool.example)

    @cached_property
    def _nudged(self) -> list[Tensor]:
        return self._forwards.nudged_outputs(self._first.example)

    @cached_property
    def _rounded(self) -> list[Tensor]:
        rounded = self._forwards.rounded_outputs(self._first.example)
        return self._nudged if rounded is None else rounded

    def _mixed(self, native: Sequence[Tensor], exact: Sequence[Tensor]) -> list[Tensor]:
        """Return the model's own outputs with the rows of the smallest case from float64."""
        mixed = [output.double() for output in native]
        for output, rows in zip(mixed, exact, strict=True):
            output[list(self._first.rows)] = rows
        return mixed

    def _by_case(self, whole: Answers) -> dict[Case, Answers] | None:
        """Divide the answers to the whole pool into cases; None where an output has no rows."""
        found: dict[Case, Answers] = {}
        for case in self._pool.cases:
            part = whole.of_rows(case.rows, self._pool.size)
            if part is None:
                return None
            found[case] = part
        return found


def have_same_shapes(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Tell whether outputs have the same shapes, one by one."""
    return [value.shape for value in first] == [value.shape for value in second]


def _is_plain(output: Tensor) -> bool:
    """Tell whether the model's own outputs may stand in for an output in float64.

    That is so where it is finite, and its channels have many numbers: in some of few numbers the
    model's own error is next to nothing by chance, so that what is allowed is too.
    """
    if output.dim() < 3 or not output.is_floating_point() or not torch.isfinite(output).all():
        return False
    rows, channels = output.shape[:2]
    return output.numel() >= _MANY * rows * channels > 0
