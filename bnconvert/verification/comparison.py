"""Compare a model with a file: within the float64 tolerance, and each row by itself.

A fixed tolerance is wrong in both directions: it flags correct files of ill-conditioned networks
and passes wrong ones of well-conditioned networks. The reference is the model itself in float64:

    err(ONNX Runtime vs float64) <= FACTOR * err(torch, its own dtype, vs float64) + tiny

with errors relative to the size of the output.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from bnconvert.errors import ExportError
from bnconvert.graphs.example import Example, named_tensors
from bnconvert.reporting.records import Check, Finding
from bnconvert.reporting.report import Report
from bnconvert.verification.agreement import Outputs, agreement, agreement_checks
from bnconvert.verification.batch_dependence import dependence_findings, mixing_norms
from bnconvert.verification.cases import Case, given_only
from bnconvert.verification.compared_inputs import Claim, ComparedInputs
from bnconvert.verification.evidence import Evidence
from bnconvert.verification.file_judgement import FileJudgement
from bnconvert.verification.files.onnx_precision import precision_of
from bnconvert.verification.files.onnx_runner import OnnxRunner
from bnconvert.verification.inner_values import weights_seen_inside
from bnconvert.verification.noise import notes_on_noise
from bnconvert.verification.references.reference import Reference
from bnconvert.verification.rounding.lowered_precision import INT8, Precision
from bnconvert.verification.row_independence import RowIndependence
from bnconvert.verification.tolerance import FACTOR, Tolerance
from bnconvert.verification.verdict import WORDS, Judge, verdict_of

_SATURATES = (
    "only the given inputs are compared: beyond the range that a quantized file was calibrated for "
    "its numbers saturate"
)
_OUT_OF_RANGE = re.compile(r"out of (?:range|bounds|data bounds)|indices element", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Proof:
    """The figures of all comparisons of a model with a file.

    Attributes:
        report: the figures.
        divergent_input: the smallest input on which the file computes something else, or None.
        holds_as_given: whether every check on the given inputs holds, in a batch as given.
        precision: what the file computes in, where that is lower than the model's own.
        axes_apart: whether any two axes that may have any size had different ones.
    """

    report: Report
    divergent_input: Example | None
    holds_as_given: bool
    precision: Precision | None = None
    axes_apart: bool = True


class Comparison:
    """The outputs of a model and a file on the same inputs; each is computed once and kept."""

    def __init__(
        self, model: nn.Module, example: Example, path: Path, claim: Claim | None = None
    ) -> None:
        """Run the model and the file on every case.

        Raises:
            ExportError: as `prove`.
        """
        self._model, self._path, self._claim = model, path, claim or Claim()
        self._mixing = mixing_norms(model)
        self._file = OnnxRunner(path, runtime=self._claim.runtime)
        self._feed = self._file.feed(named_tensors(model, example))
        count = len(self._file.output_names)
        self._reference = Reference(model, count, self._claim.raw, precision_of(path))
        self._inputs = ComparedInputs(self._reference, self._feed, self._shapes(), self._claim)
        mixing = bool(self._mixing)
        self._tried = self._answers = self._inputs.answers(example, at_once=not mixing)
        if self._reference.precision is INT8:
            self._answers = given_only(self._tried)
            self._reference.note(_SATURATES)
        measured = Tolerance.of(self._answers.values())
        self._tolerance = replace(measured, given=self._claim.tolerance)
        self._outputs = {case: self._run(self._file, case.example) for case in self._answers}
        self._drop_senseless()

    def _shapes(self) -> dict[str, list[int | str | None]]:
        return {name: self._file.shape_of(name) for name in self._file.input_names}

    def _drop_senseless(self) -> None:
        """Leave out inputs that nobody gave and in which an index is out of range."""
        first = next(iter(self._outputs))
        for case, outputs in [*self._outputs.items()]:
            if case is not first and isinstance(outputs, str) and _OUT_OF_RANGE.search(outputs):
                del self._outputs[case], self._answers[case]
                self._reference.note(
                    f"{case.name}: left out, because an index in the rows is out of range there"
                )

    def proof(self) -> Proof:
        """Judge the outputs that were computed."""
        names, precision = self._file.output_names, self._reference.precision
        outputs, notes = self._run_unoptimized()
        judged = self._judged(outputs)
        if self._is_partial and not judged.holds_plainly:
            self._complete_answers()
            judged = self._judged(
                {case: outputs[case] for case in outputs if case in self._answers}
            )
        checks = judged.checks
        findings = self._findings(checks)
        verdict = verdict_of(checks, findings, self._outputs)
        more = self._notes(judged)
        report = Report(
            f"{self._path.name} {WORDS[verdict]} {type(self._model).__name__}",
            verdict=verdict,
            checks=tuple(checks),
            findings=findings,
            facts=agreement(names, self._answers, self._outputs),
            notes=(*self._reference.notes, *self._feed.notes, *notes, *more),
        )
        as_given = not judged.fails(next(iter(self._answers)))
        divergent = judged.divergent_input(self._answers)
        return Proof(report, divergent, as_given, precision, self._inputs.axes_apart)

    def _judged(self, unoptimized: Mapping[Case, Outputs]) -> FileJudgement:
        """Judge all runs by the answers that are known.

        Args:
            unoptimized: the outputs without graph optimizations.
        """
        names, precision = self._file.output_names, self._reference.precision
        perturbed = self._reference.perturbed_answers
        casts, in_parts = self._feed.casts or precision is not None, precision is not INT8
        judge = Judge(names, self._answers, self._tolerance, perturbed, casts, in_parts)
        rows = RowIndependence(
            names,
            self._reference,
            lambda case: self._tolerance.at(self._answers[case]),
            self._inputs.size,
            partial(self._run, self._file),
        )
        further = [] if self._mixing else [*rows.checks(self._outputs)]
        if self._claim.agreement is not None:
            least = self._claim.agreement
            further += agreement_checks(names, self._answers, self._outputs, least)
        as_usual = judge.judge(self._outputs)
        as_it_is = judge.judge(unoptimized, optimized=False)
        return FileJudgement(as_usual, as_it_is, further, rows.mixed)

    @property
    def _is_partial(self) -> bool:
        return any(known.partial for known in self._answers.values())

    def _complete_answers(self) -> None:
        """Compute in float64 what the model's own outputs stood in for."""
        known = self._inputs.complete_answers()
        for case in [case for case in self._answers if case.rows]:
            if case in known:
                self._answers[case] = known[case]
            elif self._answers[case].partial:
                del self._answers[case], self._outputs[case]
        self._tolerance = Tolerance.of(self._answers.values())

    def _findings(self, checks: Sequence[Check]) -> tuple[Finding, ...]:
        """Return whether rows depend on their batch, and what the comparison says nothing about.

        Where it fails anyway, it need not say anything about that.
        """
        dependent = tuple(dependence_findings(self._model, checks))
        if not all(check.passed for check in checks):
            return dependent
        names = self._file.output_names
        few = self._inputs.few_rows
        if not any(case.example is few for case in self._answers):
            few = self._inputs.given  # the model does not take it
        evidence = Evidence(
            self._reference,
            names,
            self._answers,
            self._tried,
            self._tolerance,
            few,
            self._seen_inside,
        )
        return (*dependent, *evidence.findings(self._claim.allow_nonfinite))

    def _seen_inside(self, example: Example) -> set[str]:
        model, exact = self._reference.model, self._reference.exact
        fed = named_tensors(self._model, example)
        return weights_seen_inside(model, exact, example, self._path, fed)

    def _run_unoptimized(self) -> tuple[dict[Case, Outputs], tuple[str, ...]]:
        """Run the file without optimizations on the given inputs; or note why that fails."""
        try:
            runtime = self._claim.runtime
            file = OnnxRunner(self._path, unoptimized=True, runtime=runtime)
        except ExportError as failure:
            return {}, (f"not run without graph optimizations: {failure}",)
        given = (case for case in self._answers if case.given)
        return {case: self._run(file, case.example) for case in given}, ()

    def _run(self, file: OnnxRunner, example: Example) -> Outputs:
        feed = file.feed(named_tensors(self._model, example))
        try:
            return file.run(feed)
        except ExportError as failure:
            if example is self._inputs.given:
                raise
            return str(failure)

    def _notes(self, judged: FileJudgement) -> Iterator[str]:
        """Yield the notes: what the figures do not prove, and why."""
        discontinuous, mixed = judged.excused, judged.mixed
        if self._claim.tolerance is not None:
            yield f"errors up to {self._claim.tolerance:g} are allowed, because you said so"
        elif precision := self._reference.precision:
            yield (
                f"the file computes in {precision.name}: it may be {FACTOR:g} times as far off as "
                f"the model itself would be in {precision.name}"
            )
        if discontinuous:
            yield (
                f"the model's own output {', '.join(sorted(discontinuous))} is discontinuous, as "
                "the position of a maximum is: where rounding errors of the input change it, the "
                "file may give any value that the model itself gives"
            )
        if mixed:
            yield (
                f"rows of {', '.join(sorted(mixed))} are not compared in other batches: the "
                "model's own depend on the rest of axis 0, which is no batch or is mixed on purpose"
            )
        elif not self._mixing and not any(check.measure == "rows" for check in judged.further):
            yield ("no row was compared in another batch: there is only one, or no output has rows")
        if self._reference.precision is None:
            yield from notes_on_noise(
                self._reference, self._file.output_names, self._answers, self._tolerance
            )
