"""Evidence: whether a comparison that holds proves anything, output by output, weight by weight.

An output that is empty, not finite, the same whatever the input or nothing but rounding errors
agrees with every file, and so does a layer whose weights move nothing that was compared.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bnconvert.errors import first_line
from bnconvert.graphs.example import Example
from bnconvert.reporting.records import Finding
from bnconvert.reporting.table import listed
from bnconvert.verification.cases import Case
from bnconvert.verification.finding_ids import UNPROVEN
from bnconvert.verification.noise import noisy_outputs
from bnconvert.verification.nonfinite_outputs import nonfinite_outputs, without_numbers
from bnconvert.verification.references.reference import Reference
from bnconvert.verification.rounding.exact_precision import ExactPrecision
from bnconvert.verification.tolerance import Answers, Tolerance
from bnconvert.verification.weights.influence import GradientRun, weight_names
from bnconvert.verification.weights.weight_dependence import weights_without_outputs
from bnconvert.verification.weights.weight_trials import WeightTrials

Hidden = Literal["empty", "the same"]
#: Values that differ by less than so many units in the last place are the same.
_SAME = 32


def hidden_outputs(answers: Mapping[Case, Answers]) -> dict[int, Hidden]:
    """Return which outputs say nothing: those that are always empty, or always the same."""
    count = min(len(known.native) for known in answers.values())
    found = {index: _hidden(index, answers) for index in range(count)}
    return {index: kind for index, kind in found.items() if kind is not None}


def _hidden(index: int, answers: Mapping[Case, Answers]) -> Hidden | None:
    values = [(case, known.native[index]) for case, known in answers.items()]
    if not any(value.numel() for _, value in values):
        return "empty"
    items: list[Tensor] = []
    for case, value in values:
        rows = value.dim() > 0 and len(value) == case.example.batch
        items += list(value) if rows else [value]
    return "the same" if all(_is_same(items[0], item) for item in items[1:]) else None


def _is_same(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape:
        return False
    if not first.is_floating_point():
        return torch.equal(first, second)
    within = _SAME * torch.finfo(first.dtype).eps
    return torch.allclose(first.double(), second.double(), within, 0.0, equal_nan=True)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a comparison, all of whose checks hold, proves nothing about.

    Attributes:
        reference: the model.
        names: of the file's outputs.
        answers: the model's, by case.
        tried: the same, and on inputs that were tried though the file was not run on them: a
            quantized one saturates there.
        tolerance: how far from them a file may be.
        example: an input of few rows.
        seen_inside: returns which weights move an inner value that the file computes too.
    """

    reference: Reference
    names: Sequence[str]
    answers: Mapping[Case, Answers]
    tried: Mapping[Case, Answers]
    tolerance: Tolerance
    example: Example
    seen_inside: Callable[[Example], set[str]]

    def findings(self, allow_nonfinite: Collection[str]) -> Iterator[Finding]:
        """Yield a finding for every output and every weight that was not compared."""
        known = self.names, self.answers, allow_nonfinite
        yield from nonfinite_outputs(self.reference.model, *known)
        nowhere = without_numbers(*known)
        first = next(iter(self.answers))
        yield from noisy_outputs(self.reference, self.names, first, self.tolerance)
        hidden = {index: kind for index, kind in self._hidden().items() if index not in nowhere}
        for kind in sorted(set(hidden.values())):
            named = [self.names[i] for i, this in hidden.items() if this == kind]
            yield Finding(
                UNPROVEN,
                "error",
                ("(root)",),
                f"the model's output {listed(named)} is {kind} on every input that was tried, "
                "given, generated and stronger ones: a file may compute anything else there",
                "give inputs on which it is not, such as images in which the model finds "
                "something, and several of them",
            )
        if len(nowhere) < len(self.names):
            yield from self._unseen_weights(WeightTrials(self.reference.model, self.example))

    def _hidden(self) -> dict[int, Hidden]:
        """Return the outputs that say nothing, though they are computed from the inputs."""
        hidden = hidden_outputs(self.tried)
        depending = self.reference.outputs_of_inputs(self.example) if hidden else set()
        return {index: kind for index, kind in hidden.items() if index in depending}

    def _gradients(self, model: torch.nn.Module, example: Example) -> GradientRun | None:
        exact = model is self.reference.exact
        try:
            with ExactPrecision() if exact else nullcontext():
                return GradientRun.of(model, example)
        except Exception as failure:
            self.reference.note(
                f"how weights move the outputs was tried without gradients: {first_line(failure)}"
            )
            return None

    def _unseen_weights(self, trials: WeightTrials) -> Iterator[Finding]:
        """Yield findings about weights that neither outputs nor inner values show."""
        left = set(weight_names(self.reference.model))
        for number, (model, example) in enumerate(self._runs()):
            if left and (run := self._gradients(model, example)):
                left -= self._moving(run, [*run.outputs]) or set()
            if number == 0 and left and not trials.uses_any(left):
                return  # as a head for training: no further run shows it
        if left and not trials.uses_any(left):
            return
        if left:  # before the trials, which take forwards for each weight
            left -= self._seen_inside()
        if left:
            left -= self._without_outputs(left, trials)
        if left:
            left &= trials.used(left)
        if left:  # outputs in steps, as rounded ones, move where their gradient is zero
            left -= trials.moving_outputs(left, but=self._smooth_outputs())
        if left:
            cut = left & trials.cut_by_zeros()
            yield from _cut(cut)
            left -= cut
        if left:
            yield Finding(
                UNPROVEN,
                "error",
                tuple(sorted(left)),
                "these weights move no output on the inputs that were tried, and no value inside "
                "the file shows them: a file with other ones would agree too",
                "give inputs for which they matter: real ones, and several",
            )

    def _runs(self) -> Iterator[tuple[torch.nn.Module, Example]]:
        """Yield the forwards by whose gradients weights are sought, the cheapest first."""
        for example in dict.fromkeys((self._smallest(), self.example)):
            yield self.reference.model, example
        yield self.reference.exact, self.example.in_double()

    def _smooth_outputs(self) -> set[int]:
        """Return the outputs that have a gradient: one backward pass for each of them."""
        smooth: set[int] = set()
        for model, example in self._runs():
            if run := self._gradients(model, example):
                smooth |= {index for index in run.outputs if self._moving(run, [index])}
        return smooth

    def _smallest(self) -> Example:
        """Return the smallest batch: where that shows all weights, no larger one is needed."""
        sizes = {case.example: len(case.rows) for case in self.answers if case.rows}
        return min(sizes, key=lambda example: sizes[example], default=self.example)

    def _moving(self, run: GradientRun, outputs: Sequence[int]) -> set[str] | None:
        """Return the weights that move some outputs; None where there is no backward pass.

        Values that it needs may have been overwritten, and a forked process has none once its
        parent has differentiated.
        """
        try:
            return run.moving([run.outputs[index] for index in outputs])
        except Exception:
            return None

    def _seen_inside(self) -> set[str]:
        try:
            return self.seen_inside(self.example)
        except Exception as failure:
            self.reference.note(f"no inner value of the file was compared: {first_line(failure)}")
            return set()

    def _without_outputs(self, left: set[str], trials: WeightTrials) -> set[str]:
        """Return the weights from which no output is computed, and note it."""
        sizes = {
            tuple(t.shape for t in case.example.tensors()): case.example for case in self.tried
        }
        try:
            found = weights_without_outputs(self.reference.model, sizes.values(), left)
        except Exception:  # forwards that do not run while they are watched
            return set()
        if not found or trials.move_outputs(sorted(found)):
            return set()
        self.reference.note(
            f"no output depends on {listed(sorted(found))}: there is nothing to compare"
        )
        return found


def _cut(weights: set[str]) -> Iterator[Finding]:
    if weights:
        yield Finding(
            UNPROVEN,
            "warning",
            tuple(sorted(weights)),
            "these weights do not matter while others behind them are zero, as the last gamma of "
            "an untrained residual block is: a fault in them was not looked for",
            "train the model, or load its weights, before you verify",
        )
