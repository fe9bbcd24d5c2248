"""Compare two ONNX files, without any model: a candidate with the file that it was made from.

There is no float64 model here. The reference's own numbers are the truth, and how far a right file
may be from them is measured on the reference (`reference_file.py`). All else is as for a model: the
same inputs, every part of an output by its own size, every row by itself.
"""

import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bnconvert.errors import ExportError, first_line
from bnconvert.graphs.example import Example, NamedTensor
from bnconvert.reporting.records import Check, Finding
from bnconvert.reporting.report import Report
from bnconvert.verification.agreement import Outputs, agreement, agreement_checks
from bnconvert.verification.cases import Case, given_only
from bnconvert.verification.compared_inputs import Claim, ComparedInputs
from bnconvert.verification.evidence import Hidden, hidden_outputs
from bnconvert.verification.files.onnx_outputs import outputs_of_inputs
from bnconvert.verification.files.onnx_precision import precision_of
from bnconvert.verification.files.onnx_runner import OnnxRunner
from bnconvert.verification.finding_ids import UNPROVEN
from bnconvert.verification.references.reference_file import ReferenceFile
from bnconvert.verification.rounding.lowered_precision import INT8
from bnconvert.verification.row_independence import RowIndependence
from bnconvert.verification.tolerance import Answers, Tolerance
from bnconvert.verification.values.file_divergence import find_file_divergence
from bnconvert.verification.values.reference_values import ReferenceValues
from bnconvert.verification.verdict import WORDS, Judge, verdict_of
from bnconvert.verification.weights.onnx_unseen_weights import unseen_weights

_LOCALIZED = 3  # inputs that fail on which the operator is searched, the worst first


class FileComparison:
    """The outputs of two files on the same inputs."""

    def __init__(self, reference: Path, candidate: Path, inputs: Example, claim: Claim) -> None:
        """Load both files.

        Args:
            reference: the file that is right.
            candidate: the file to judge.
            inputs: as the reference takes them: by its names, or in its order.
            claim: what is said beforehand; only tolerance and agreement count.

        Raises:
            ExportError: one cannot be loaded or takes other inputs, they have not as many outputs,
                or the candidate is quantized and no tolerance is given.
        """
        self._paths, self._claim, self._inputs = (reference, candidate), claim, inputs
        self._reference = OnnxRunner(reference)
        self._candidate = OnnxRunner(candidate, runtime=claim.runtime)
        self._precision, self._own = precision_of(candidate), precision_of(reference)
        lower = [precision for precision in (self._precision, self._own) if precision]
        self._lower = max(lower, key=lambda precision: precision.eps, default=None)
        if self._precision is INT8 and self._own is not INT8 and claim.tolerance is None:
            raise ExportError(
                f"{candidate.name}: is quantized, and a reference that is a file does not say how "
                "far it may be off; give a tolerance (--tolerance 0.1), or compare it with the "
                "model"
            )
        self._order = self._outputs_in_order()
        names = self._reference.input_names
        known = zip(names, inputs.args, strict=False) if inputs.args else inputs.kwargs.items()
        self._names = [name for name, _ in known]
        if len(self._names) != len(inputs.tensors()):
            raise ExportError(
                f"{self._reference.name}: has inputs {', '.join(names)}, and "
                f"{len(inputs.tensors())} tensors were given; give one tensor for each"
            )

    def report(self) -> Report:
        """Compare both on the given inputs and others like them; localize a difference.

        Raises:
            ExportError: the reference does not run on the inputs, or they do not fit the candidate.
        """
        eps = self._lower.eps if self._lower else 0.0
        with tempfile.TemporaryDirectory() as scratch:
            reference = ReferenceFile(
                self._paths[0], self._reference, self._names, eps, Path(scratch)
            )
            shapes, claim = self._shapes(reference), self._claim
            inputs = ComparedInputs(reference, reference.feed(self._inputs), shapes, claim)
            tried = inputs.answers(self._inputs, at_once=False)
            self._candidate.run(self._candidate.feed(reference.fed(inputs.given)))  # or raises
            report, differing = self._judged(reference, tried, inputs.size)
            if differing:
                files = reference.path, reference.moved
                fed = [reference.fed(case.example) for case in differing[:_LOCALIZED]]
                found = find_file_divergence(files, self._paths[1], fed, self._lower)
                report = replace(report, findings=(found,) if found else ())
            elif report.verdict == "agrees" and not self._is_quantized:
                files, few = (reference.path, reference.moved), reference.fed(inputs.few_rows)
                values = ReferenceValues(files, few, self._lower, Path(scratch))
                others = (reference.fed(case.example) for case in tried)
                report = _with_unseen_weights(report, values, self._paths[1], others)
        return report

    @property
    def _is_quantized(self) -> bool:
        return self._precision is INT8

    def _outputs_in_order(self) -> list[int]:
        """Return which of the candidate's outputs each of the reference's is: by name, or place."""
        ours, theirs = self._reference.output_names, self._candidate.output_names
        if len(ours) != len(theirs):
            raise ExportError(
                f"{self._candidate.name}: has {len(theirs)} outputs ({', '.join(theirs)}), and "
                f"{self._reference.name} has {len(ours)} ({', '.join(ours)}); compare files with "
                "the same outputs"
            )
        named = set(ours) == set(theirs)
        return [theirs.index(name) for name in ours] if named else list(range(len(ours)))

    def _shapes(self, reference: ReferenceFile) -> dict[str, list[int | str | None]]:
        """Return the reference's input shapes; a size that the candidate fixes is fixed.

        Raises:
            ExportError: the inputs do not fit one of the files.
        """
        fed = reference.fed(self._inputs)
        theirs = {place: name for name, place in self._candidate.feed(fed).given.items()}
        found: dict[str, list[int | str | None]] = {}
        for name, place in self._reference.feed(fed).given.items():
            found[name] = own = self._reference.shape_of(name)
            other = self._candidate.shape_of(theirs[place]) if place in theirs else []
            for axis, (size, fixed) in enumerate(zip(own, other, strict=False)):
                if isinstance(size, int) is isinstance(fixed, int):
                    continue
                own[axis] = known = size if isinstance(size, int) else fixed
                file = self._reference if known is size else self._candidate
                reference.note(f"{file.name} fixes axis {axis} of {name}: compared at {known} only")
        return found

    def _run(self, reference: ReferenceFile, example: Example) -> Outputs:
        """Run the candidate; return its outputs in the order of the reference's."""
        try:
            outputs = self._candidate.run(self._candidate.feed(reference.fed(example)))
        except ExportError as failure:
            return str(failure)
        return outputs if isinstance(outputs, str) else [outputs[i] for i in self._order]

    def _judged(
        self, reference: ReferenceFile, tried: Mapping[Case, Answers], size: int | None
    ) -> tuple[Report, list[Case]]:
        """Return the report, and the cases that differ, the worst first."""
        names, claim = self._reference.output_names, self._claim
        quantized = self._is_quantized
        answers = given_only(tried) if quantized else tried
        tolerance = replace(Tolerance.of(answers.values()), given=claim.tolerance)
        outputs = {case: self._run(reference, case.example) for case in answers}
        in_parts, perturbed = not quantized, reference.perturbed_answers
        judge = Judge(names, answers, tolerance, perturbed, casts=True, in_parts=in_parts)
        judged = judge.judge(outputs)
        checks: list[Check] = [check for those in judged.checks.values() for check in those]
        checks += RowIndependence(
            names,
            reference,
            lambda case: tolerance.at(answers[case]),
            size,
            lambda example: self._run(reference, example),
        ).checks(outputs)
        if claim.agreement is not None:
            checks += agreement_checks(names, answers, outputs, claim.agreement)
        fails = not all(check.passed for check in checks)
        hidden = {} if fails else self._hidden(tried)
        findings = () if fails else tuple(_unproven(hidden, names, answers, tolerance))
        verdict = verdict_of(checks, findings, outputs)
        report = Report(
            f"{self._candidate.name} {WORDS[verdict]} {self._reference.name}",
            verdict=verdict,
            checks=tuple(checks),
            findings=findings,
            facts=agreement(names, answers, outputs),
            notes=(*self._notes(), *reference.notes),
        )
        differing = [case for case in answers if judged.fails(case)]
        return report, sorted(differing, key=lambda case: -_excess(judged.checks[case]))

    def _hidden(self, tried: Mapping[Case, Answers]) -> dict[int, Hidden]:
        """Return the outputs that say nothing, though they are computed from the inputs."""
        hidden = hidden_outputs(tried)
        moving = outputs_of_inputs(self._paths[0]) if hidden else set()
        return {index: kind for index, kind in hidden.items() if index in moving}

    def _notes(self) -> Iterator[str]:
        yield (
            f"the reference is the file {self._reference.name} in its own precision: what is wrong "
            "in it is not seen"
        )
        for file, precision in ((self._reference, self._own), (self._candidate, self._precision)):
            if precision and precision is not INT8:
                yield f"{file.name} computes in {precision.name}"
        if self._is_quantized:
            yield "only the given inputs are compared: beyond its range a quantized file saturates"


def _with_unseen_weights(
    report: Report,
    reference: ReferenceValues,
    candidate: Path,
    others: Iterable[Sequence[NamedTensor]],
) -> Report:
    """Return a report that says which weights were not seen."""
    try:
        found = tuple(unseen_weights(reference, candidate, others))
    except ExportError as failure:
        note = f"whether all weights were seen is not known: {first_line(failure)}"
        return replace(report, notes=(*report.notes, note))
    return replace(report, findings=(*report.findings, *found))


def _excess(checks: Sequence[Check]) -> float:
    """Return how many times more than allowed an error is, of the worst check."""
    return max(check.error / (check.allowed or math.ulp(0.0)) for check in checks)


def _unproven(
    hidden: Mapping[int, Hidden],
    names: Sequence[str],
    answers: Mapping[Case, Answers],
    tolerance: Tolerance,
) -> Iterator[Finding]:
    """Yield a finding for each output in which the reference has nothing to compare with."""
    for index, name in enumerate(names):
        finite = any(bool(known.true[index].isfinite().any()) for known in answers.values())
        if finite and index in hidden:
            yield Finding(
                UNPROVEN,
                "error",
                ("(root)",),
                f"the reference's output {name} is {hidden[index]} on every input that was tried, "
                "given, generated and stronger ones: a file may compute anything else there",
                "give inputs on which it is not: real ones, and several of them",
            )
        elif not finite or tolerance.says_nothing(index):
            yield Finding(
                UNPROVEN,
                "error",
                ("(root)",),
                f"the reference's output {name} is empty, not finite or nothing but rounding "
                "errors on every input that was tried: a file may compute anything else there",
                "give real inputs, and several",
            )
