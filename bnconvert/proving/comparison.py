"""A comparison of a model with a file: the float64 budget, and rows that do not depend on a batch.

A fixed tolerance is wrong both ways: it flags correct files of ill-conditioned networks and
passes wrong ones of well-conditioned networks. The judge is the model itself in float64:

    err(ONNX Runtime vs float64) <= FACTOR * err(torch, its own dtype, vs float64) + tiny

with errors relative to the size of the output.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from bnconvert.errors import ExportError
from bnconvert.examples import Example, named_tensors
from bnconvert.kinds import norms_in
from bnconvert.normalization import Normalization
from bnconvert.numerics.distance import Measure, difference, relative_error, relative_errors
from bnconvert.proving.agreement import Outputs, agreement
from bnconvert.proving.cases import Case, Pool
from bnconvert.proving.jumping import nearest
from bnconvert.proving.onnx_runner import OnnxRunner
from bnconvert.proving.reference import Reference
from bnconvert.reporting.records import Check
from bnconvert.reporting.report import Report

SEED = 0
#: The finding that names the operator where a file parts from its model.
PARTING = "BN404"
#: Behind a case's name: run without ONNX Runtime's graph optimizations.
PLAIN = ", unoptimized"
_BLAME = (
    "{:.1e} of the output, {:.1e} allowed, by ONNX Runtime's own graph optimizations: without "
    "them the file holds the budget"
)


@dataclass(frozen=True, eq=False)
class Proof:
    """What all comparisons of a model with a file came to.

    Attributes:
        report: the figures.
        parting: the smallest input on which the file computes something else, or None.
    """

    report: Report
    parting: Example | None


def mixing_norms(model: nn.Module) -> list[str]:
    """Return the paths of norms that are meant to mix the samples of a batch in eval mode."""
    return [
        path or "(root)"
        for path, norm, _ in norms_in(model)
        if isinstance(norm, Normalization) and norm.mixes_samples_in_eval
    ]


class Comparison:
    """A model and a file on the same inputs: every output of both is computed once and kept."""

    def __init__(self, model: nn.Module, example: Example, path: Path) -> None:
        """Run the model and the file on every case.

        Raises:
            ExportError: as `prove`.
        """
        self._model, self._path = model, path
        self._generator = torch.Generator().manual_seed(SEED)
        self._mixing = mixing_norms(model)
        self._file = OnnxRunner(path)
        self._size = self._batch_size(example)
        self._reference = Reference(model, len(self._file.output_names))
        pool = Pool.of(example, self._size, self._generator)
        known = None
        if pool.size and self._size != example.batch and not self._mixing:
            known = self._reference.answers_at_once(pool)
        self._answers = known or self._reference.answers_to(pool)
        self._budget = self._reference.budget(self._answers)
        #: The model's own outputs on shaken inputs, for cases where the file is off.
        self._draws: dict[Case, list[list[Tensor]]] = {}
        self._jumping = set[str]()
        self._is_steady = False  # the file is off where the model does not jump
        self._outputs = {case: self._run(self._file, case.example) for case in self._answers}

    def proof(self) -> Proof:
        """Judge what was computed."""
        checks = [c for case, got in self._outputs.items() for c in self._budget_checks(case, got)]
        checks = self._with_unoptimized(checks)
        failed = {check.case for check in checks if not check.passed}
        rows = list(self._row_checks())
        passed = all(check.passed for check in (*checks, *rows))
        verdict = "agrees with" if passed else "DIFFERS from"
        report = Report(
            f"{self._path.name} {verdict} {type(self._model).__name__}",
            checks=(*checks, *rows),
            facts=agreement(self._file.output_names, self._answers, self._outputs),
            notes=tuple(self._notes(bool(rows))),
        )
        return Proof(report, self._parting(failed))

    def _parting(self, failed: set[str]) -> Example | None:
        """Return the smallest input that fails, unless ONNX Runtime's optimizations are why."""
        for case in self._answers:
            if case.given and case.name in failed and case.name + PLAIN not in failed:
                return None
        wrong = [case for case in self._answers if failed & {case.name, case.name + PLAIN}]
        smallest = min(wrong, key=lambda case: len(case.rows), default=None)
        return smallest.example if smallest else None

    def _batch_size(self, example: Example) -> int | None:
        """Return the file's fixed batch size, or None where it may have any."""
        feed = self._file.feed(named_tensors(self._model, example))
        sizes = [self._file.first_axis(name) for name, t in feed.items() if example.is_batched(t)]
        return next((size for size in sizes if size), None)

    def _run(self, file: OnnxRunner, example: Example) -> Outputs:
        return file.run(file.feed(named_tensors(self._model, example)))

    def _budget_checks(self, case: Case, outputs: Outputs, suffix: str = "") -> list[Check]:
        """Compare every output on one input with the float64 budget."""
        label, answers = case.name + suffix, self._answers[case]
        if not isinstance(outputs, str) and len(outputs) != len(answers.true):
            outputs = f"the file has {len(outputs)} outputs, the model {len(answers.true)}"
        if isinstance(outputs, str):
            return [Check(label, "all outputs", "norm", math.inf, 0.0, False, outputs)]
        checks: list[Check] = []
        for index, (name, mine) in enumerate(zip(self._file.output_names, outputs, strict=True)):
            expected = answers.native[index]
            if self._file.casts and mine.is_floating_point() and expected.is_floating_point():
                mine = mine.to(expected.dtype)  # the whole file is in another precision
            detail = difference(mine, expected)
            for measure, error in self._errors(case, index, mine).items():
                allowed = self._budget.allowed(index, measure)
                passed = not detail and error <= allowed
                checks.append(Check(label, name, measure, error, allowed, passed, detail))
        return checks

    def _errors(self, case: Case, index: int, mine: Tensor) -> dict[Measure, float]:
        """Return how far an output is from the truth, or from where the model itself jumps to."""
        truth = self._answers[case].true[index]
        errors = relative_errors(mine, truth)
        if mine.shape != truth.shape or self._budget.admits(index, errors) or self._is_steady:
            return errors
        if case not in self._draws:
            self._draws[case] = self._reference.draws(case.example, self._generator)
        draws = (draw[index] for draw in self._draws[case])
        truth = nearest(mine, truth, draws, self._budget.allowed(index, "peak"))
        second = relative_errors(mine, truth)
        self._is_steady = not self._budget.admits(index, second)
        if self._is_steady:
            return errors
        self._jumping.add(self._file.output_names[index])
        return second

    def _with_unoptimized(self, checks: list[Check]) -> list[Check]:
        """Add the given inputs as the file stands; say so where only the optimized run fails."""
        try:
            plain = OnnxRunner(self._path, as_it_stands=True)
        except ExportError as failure:
            self._file.notes.append(f"not run without graph optimizations: {failure}")
            return checks
        for case in [case for case in self._answers if case.given]:
            more = self._budget_checks(case, self._run(plain, case.example), PLAIN)
            if all(check.passed for check in more):
                checks = [_blamed(c) if c.case == case.name else c for c in checks]
            checks += more
        return checks

    def _row_checks(self) -> Iterator[Check]:
        """Compare the first and last row of a batch with the same rows in other company.

        With a dynamic batch size the row is run alone; else the other rows are replaced. A norm
        that uses the batch's own statistics fails, however well the file agrees with the model.
        """
        case = max(reversed(self._answers), key=lambda case: len(case.rows))
        together, size = self._outputs[case], len(case.rows)
        if self._mixing or isinstance(together, str) or size < 2:
            return  # what a row check measures is what mixing norms are for
        if self._size is not None and not self._reference.accepts(case.example.rows([0])):
            return
        for row in (0, size - 1):
            place, apart = self._apart(case, row)
            if isinstance(apart, str):
                continue
            for index, (whole, single) in enumerate(zip(together, apart, strict=True)):
                if (
                    whole.dim() == 0
                    or len(whole) != size
                    or (index, "peak") not in self._budget.own
                ):
                    continue  # no row of this output belongs to a row of the input
                error = relative_error(single[place], whole[row], "peak")
                allowed = self._budget.allowed(index, "peak")
                label, name = f"row {row} of {case.name}", self._file.output_names[index]
                yield Check(label, name, "rows", error, allowed, error <= allowed)

    def _apart(self, case: Case, row: int) -> tuple[int, Outputs]:
        """Return where a row of a case is in another batch, and the file's outputs for that."""
        if self._size is not None:
            other = case.example.with_other_rows(row, self._generator)
            return row, self._run(self._file, other)
        alone = (case.rows[row],)
        known = next((got for c, got in self._outputs.items() if c.rows == alone), None)
        return 0, known or self._run(self._file, case.example.rows([row]))

    def _notes(self, compared_rows: bool) -> Iterator[str]:
        yield from self._reference.notes
        yield from self._file.notes
        if self._jumping:
            yield (
                f"the model's own {', '.join(sorted(self._jumping))} jumps in places where its "
                "inputs move by rounding errors, as the place of a maximum does: there the file "
                "may take any value that the model itself takes"
            )
        if self._mixing:
            yield (
                "batch-composition invariance is deliberately off: norms that adapt to the test "
                f"batch ({', '.join(self._mixing)}), and the file computes the mixture; for a "
                "fixed function recompute the statistics on target data and revert the model"
            )
        elif not compared_rows:
            yield "no row was compared in other company: there is only one, or none comes out"
        if self._budget.noise and self._reference.is_random(next(iter(self._answers)).example):
            yield (
                "the model draws random numbers in eval mode, so that agreement proves little; "
                "find the dropout that is called with training=True"
            )
        elif self._budget.noise:
            yield (
                "the model itself is ill-conditioned: its own rounding error is "
                f"{self._budget.noise:.1e} of its output, so that agreement proves little"
            )


def _blamed(check: Check) -> Check:
    if check.passed:
        return check
    return replace(check, detail=check.detail or _BLAME.format(check.error, check.allowed))
