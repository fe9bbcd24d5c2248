"""Compare two ONNX files, without any model: a candidate with the file that it was made from.

There is no float64 model here. The reference's own numbers are the truth, and how far a right file
may be from them is measured on the reference: its inputs and weights are moved by one unit in the
last place, of float16 where the candidate computes in that.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from bnconvert.errors import ExportError
from bnconvert.graphs.example import Example, NamedTensor
from bnconvert.reporting.records import Check, Finding
from bnconvert.reporting.report import Report
from bnconvert.verification.agreement import Outputs, agreement, agreement_checks
from bnconvert.verification.cases import Case, Pool
from bnconvert.verification.compared_inputs import Claim
from bnconvert.verification.file_divergence import find_file_divergence
from bnconvert.verification.finding_ids import UNPROVEN
from bnconvert.verification.lowered_precision import INT8
from bnconvert.verification.onnx_moved_weights import with_moved_weights
from bnconvert.verification.onnx_precision import precision_of
from bnconvert.verification.onnx_runner import OnnxRunner
from bnconvert.verification.tolerance import Answers, Tolerance
from bnconvert.verification.verdict import WORDS, Judge, verdict_of

_SEED = 0
_RUNS = 3  # of the reference, moved in ever new ways
_FLOAT32 = float(torch.finfo(torch.float32).eps)


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
        self._precision, own = precision_of(candidate), precision_of(reference)
        if self._precision is INT8 and own is not INT8 and claim.tolerance is None:
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
            ExportError: the reference does not run on the inputs.
        """
        generator = torch.Generator().manual_seed(_SEED)
        pool = Pool.of(self._inputs, self._fixed_batch(), generator)
        cases = [case for case in pool.cases if case.given] if self._is_quantized else pool.cases
        with tempfile.TemporaryDirectory() as scratch:
            moved = Path(scratch) / "moved.onnx"
            with_moved_weights(self._paths[0], moved, self._unit, generator)
            runners = OnnxRunner(self._paths[0], unoptimized=True), OnnxRunner(moved)
            answers = {c: a for c in cases if (a := self._answers(c, runners, generator))}
            report = self._judged(answers, runners[1])
            if report.verdict == "differs":
                first = next(iter(answers)).example
                found = find_file_divergence(
                    (self._paths[0], moved), self._paths[1], self._fed(first)
                )
                report = replace(report, findings=(found,)) if found else report
        return report

    @property
    def _is_quantized(self) -> bool:
        return self._precision is INT8

    @property
    def _unit(self) -> float:
        """How far to move numbers: one unit in the last place of the lower precision."""
        return max(self._precision.eps if self._precision else 0.0, _FLOAT32)

    def _fed(self, example: Example) -> list[NamedTensor]:
        return list(zip(self._names, example.tensors(), strict=True))

    def _fixed_batch(self) -> int | None:
        files, given = (self._reference, self._candidate), self._fed(self._inputs)
        sizes = (file.fixed_batch(given, self._inputs) for file in files)
        return next((size for size in sizes if size is not None), None)

    def _outputs_in_order(self) -> list[int]:
        """Return which of the candidate's outputs each of the reference's is: by name, or place."""
        ours, theirs = self._reference.output_names, self._candidate.output_names
        if len(ours) != len(theirs):
            raise ExportError(
                f"{self._candidate.name}: has {len(theirs)} outputs ({', '.join(theirs)}), and "
                f"{self._reference.name} has {len(ours)} ({', '.join(ours)}); compare files with "
                "the same outputs"
            )
        if set(ours) == set(theirs):
            return [theirs.index(name) for name in ours]
        return list(range(len(ours)))

    def _answers(
        self, case: Case, runners: Sequence[OnnxRunner], generator: torch.Generator
    ) -> Answers | None:
        """Return what the reference computes; None where it does not take an input nobody gave."""
        true = self._run(self._reference, case.example)
        if isinstance(true, str):
            if case.given:
                raise ExportError(f"{self._reference.name}: {true}; give inputs that it takes")
            return None
        unoptimized, moved = runners
        other = case.example.perturbed(self._unit / _FLOAT32, generator)
        runs = self._run(unoptimized, case.example), self._run(moved, other)
        native, perturbed = (true if isinstance(run, str) else run for run in runs)
        return Answers(true, [*native], [*perturbed])

    def _run(self, file: OnnxRunner, example: Example) -> Outputs:
        try:
            outputs = file.run(file.feed(self._fed(example)))
        except ExportError as failure:
            return str(failure)
        if isinstance(outputs, str) or file is not self._candidate:
            return outputs
        return [outputs[place] for place in self._order]

    def _judged(self, answers: dict[Case, Answers], moved: OnnxRunner) -> Report:
        names = self._reference.output_names
        tolerance = replace(Tolerance.of(answers.values()), given=self._claim.tolerance)
        outputs = {case: self._run(self._candidate, case.example) for case in answers}

        def perturbed(case: Case) -> Iterator[Sequence[Tensor]]:
            generator = torch.Generator().manual_seed(_SEED)
            for _ in range(_RUNS):
                other = case.example.perturbed(4 * self._unit / _FLOAT32, generator)
                if not isinstance(run := self._run(moved, other), str):
                    yield run

        judge = Judge(names, answers, tolerance, perturbed, casts=True, in_parts=False)
        judged = judge.judge(outputs)
        checks: list[Check] = [check for those in judged.checks.values() for check in those]
        if (least := self._claim.agreement) is not None:
            checks += agreement_checks(names, answers, outputs, least)
        fails = not all(check.passed for check in checks)
        findings = () if fails else tuple(_unproven(names, answers, tolerance))
        verdict = verdict_of(checks, findings, outputs)
        return Report(
            f"{self._candidate.name} {WORDS[verdict]} {self._reference.name}",
            verdict=verdict,
            checks=tuple(checks),
            findings=findings,
            facts=agreement(names, answers, outputs),
            notes=tuple(self._notes()),
        )

    def _notes(self) -> Iterator[str]:
        yield (
            f"the reference is the file {self._reference.name} in its own precision: what is wrong "
            "in it is not seen"
        )
        if self._precision and not self._is_quantized:
            yield f"{self._candidate.name} computes in {self._precision.name}"
        if self._is_quantized:
            yield "only the given inputs are compared: beyond its range a quantized file saturates"


def _unproven(
    names: Sequence[str], answers: Mapping[Case, Answers], tolerance: Tolerance
) -> Iterator[Finding]:
    """Yield a finding for each output in which the reference has nothing to compare with."""
    for index, name in enumerate(names):
        finite = any(bool(known.true[index].isfinite().any()) for known in answers.values())
        if not finite or tolerance.says_nothing(index):
            yield Finding(
                UNPROVEN,
                "error",
                ("(root)",),
                f"the reference's output {name} is empty, not finite or nothing but rounding "
                "errors on every input that was tried: a file may compute anything else there",
                "give real inputs, and several",
            )
