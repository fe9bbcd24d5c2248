"""The tolerance: a file may differ from float64 by a multiple of the model's own rounding error."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor

from bnconvert.numerics.distance import (
    MEASURES,
    PEAK,
    Measure,
    difference,
    relative_errors,
    rounding_errors,
)
from bnconvert.verification.cases import Rows
from bnconvert.verification.rounding.selections import Selection

#: How many times the model's own rounding error a file may have. Kernels sum in other orders.
FACTOR = 4.0
#: What counts of a limit where the model's own outputs stand in for float64: whoever is so near to
#: them is within the limit from float64, because the model is within 1 / FACTOR of it.
OF_OWN = 1 - 1 / FACTOR
#: A model whose own rounding error is larger proves little: its output is mostly noise.
ILL_CONDITIONED = 1e-3
#: From this own error on an output says nothing: one of zeros would be within the tolerance too.
NO_DIGIT = 1 / FACTOR


class Answers(NamedTuple):
    """A model's outputs on one input.

    Attributes:
        true: the outputs in float64.
        native: the outputs in the model's own dtype.
        perturbed: `native` on inputs perturbed by one unit in the last place, or None.
        bounded: which outputs are values of a bounded function.
        selections: which outputs are positions, and of what.
        partial: whether rows of `true` are the model's own in its own dtype.
    """

    true: list[Tensor]
    native: list[Tensor]
    perturbed: list[Tensor] | None = None
    bounded: frozenset[int] = frozenset()
    selections: Mapping[int, Selection] = MappingProxyType({})
    partial: bool = False

    def of_rows(self, rows: Rows, size: int) -> "Answers | None":
        """Return the answers for some rows of a batch, or None where an output has no rows."""
        if any(t.dim() == 0 or t.shape[0] != size for t in (*self.true, *self.native)):
            return None
        picks = list(rows)
        true, native = ([t[picks] for t in tensors] for tensors in (self.true, self.native))
        selections = {index: one.of_rows(picks) for index, one in self.selections.items()}
        return Answers(true, native, bounded=self.bounded, selections=selections)


@dataclass(frozen=True)
class Tolerance:
    """How far each output may be from the truth: a multiple of the model's own rounding error.

    That error is a random draw, ten times larger for one input than for the next, so the
    largest over all inputs counts; but for inputs on which an output says nothing, while it does
    on others: they count where they are judged themselves (`at`).

    Attributes:
        model_error: the model's own largest error, by output and measure.
        rounding: the error that rounding to the output's dtype may cause, by output and measure.
        given: what a user allows instead, of the root mean square error; None for nothing.
        share: how much of the limit counts.
    """

    model_error: Mapping[tuple[int, Measure], float]
    rounding: Mapping[tuple[int, Measure], float]
    given: float | None = None
    share: float = 1.0

    @classmethod
    def of(cls, answers: Iterable[Answers]) -> "Tolerance":
        """Measure the model's own error on all inputs."""
        alone = [cls._on(known) for known in answers]
        own: dict[tuple[int, Measure], float] = {}
        rounding: dict[tuple[int, Measure], float] = {}
        for key in dict.fromkeys(key for one in alone for key in one.model_error):
            all_of_it = [one for one in alone if key in one.model_error]
            telling = [one for one in all_of_it if not one.says_nothing(key[0])]
            own[key] = max(one.model_error[key] for one in telling or all_of_it)
            rounding[key] = max(one.rounding[key] for one in all_of_it)
        return cls(own, rounding)

    @classmethod
    def _on(cls, answers: Answers) -> "Tolerance":
        """Measure the model's own error on one input."""
        own: dict[tuple[int, Measure], float] = {}
        rounding: dict[tuple[int, Measure], float] = {}
        true, native, perturbed, bounded, *_ = answers
        runs = [native] if perturbed is None else [native, perturbed]
        for index, truth in enumerate(true):
            alike = [run[index] for run in runs if run[index].shape == truth.shape]
            errors = [relative_errors(value, truth) for value in alike]
            unit = rounding_errors(truth, native[index].dtype, bounded=index in bounded)
            for measure in MEASURES:
                own[index, measure] = max([0.0, *(error[measure] for error in errors)])
                rounding[index, measure] = unit[measure]
        return cls(own, rounding)

    def at(self, answers: Answers) -> "Tolerance":
        """Return the tolerance on one input: larger for outputs that say nothing there.

        It is smaller where the answers are partial, on which no output says nothing.
        """
        if answers.partial:
            return replace(self, share=OF_OWN)
        there = self._on(answers).model_error
        silent = {i for (i, m), error in there.items() if m == "norm" and error >= NO_DIGIT}
        more = {key: error for key, error in there.items() if key[0] in silent}
        return replace(self, model_error={**self.model_error, **more}) if more else self

    def says_nothing(self, index: int) -> bool:
        """Tell whether the model's own error is so large that zeros would be allowed too."""
        return self.given is None and self.model_error.get((index, "norm"), 0.0) >= NO_DIGIT

    def allowed(self, index: int, measure: Measure) -> float:
        """Return the largest relative error that an output may have."""
        if self.given is not None:
            return self.given * (FACTOR * PEAK if measure == "peak" else 1.0)
        limit = FACTOR * self.model_error[index, measure] + self.rounding[index, measure]
        return self.share * limit

    def allows(self, index: int, errors: Mapping[Measure, float]) -> bool:
        """Tell whether an output may have these relative errors."""
        return all(error <= self.allowed(index, measure) for measure, error in errors.items())

    def holds(self, answers: Answers, outputs: Sequence[Tensor]) -> bool:
        """Tell whether all outputs are as near to the truth as they must be."""
        return len(outputs) == len(answers.true) and all(
            not difference(output, answers.native[index])
            and self.allows(index, relative_errors(output, answers.true[index]))
            for index, output in enumerate(outputs)
        )

    @property
    def noise(self) -> float | None:
        """The model's own error where it is so large that agreement proves little."""
        errors = self.model_error.items()
        floating = [e for (i, m), e in errors if m == "norm" and self.rounding[i, m]]
        worst = max(floating, default=0.0)
        return worst if worst > ILL_CONDITIONED else None
