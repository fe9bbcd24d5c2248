"""Compare a model with a file: within the float64 tolerance, and each row by itself.

A fixed tolerance is wrong in both directions: it flags correct files of ill-conditioned networks
and passes wrong ones of well-conditioned networks. The reference is the model itself in float64:

    err(ONNX Runtime vs float64) <= FACTOR * err(torch, its own dtype, vs float64) + tiny

with errors relative to the size of the output.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import nn

from bnconvert.errors import ExportError
from bnconvert.graphs.example import Example, named_tensors
from bnconvert.modules.kinds import norms_in
from bnconvert.modules.normalization import Normalization
from bnconvert.numerics.distance import relative_error
from bnconvert.reporting.records import Check
from bnconvert.reporting.report import Report
from bnconvert.verification.agreement import Outputs, agreement
from bnconvert.verification.cases import Case, Pool
from bnconvert.verification.onnx_runner import OnnxRunner
from bnconvert.verification.raw_inputs import RawInput
from bnconvert.verification.reference import SEED, Reference
from bnconvert.verification.tolerance import Tolerance
from bnconvert.verification.verdict import Judge, Verdict

_BLAME = (
    "relative error {:.1e}, {:.1e} allowed; ONNX Runtime's own graph optimizations are the cause: "
    "without them the file is within the tolerance"
)


@dataclass(frozen=True, eq=False)
class Proof:
    """The figures of all comparisons of a model with a file.

    Attributes:
        report: the figures.
        divergent_input: the smallest input on which the file computes something else, or None.
    """

    report: Report
    divergent_input: Example | None


def mixing_norms(model: nn.Module) -> list[str]:
    """Return the paths of norms that are meant to mix the samples of a batch in eval mode."""
    return [
        path or "(root)"
        for path, norm, _ in norms_in(model)
        if isinstance(norm, Normalization) and norm.mixes_samples_in_eval
    ]


class Comparison:
    """The outputs of a model and a file on the same inputs; each is computed once and kept."""

    def __init__(
        self, model: nn.Module, example: Example, path: Path, raw: Sequence[RawInput] = ()
    ) -> None:
        """Run the model and the file on every case.

        Raises:
            ExportError: as `prove`.
        """
        self._model, self._path = model, path
        self._mixing = mixing_norms(model)
        self._file = OnnxRunner(path)
        self._feed = self._file.feed(named_tensors(model, example))
        self._size = self._batch_size(example)
        self._reference = Reference(model, len(self._file.output_names), raw)
        pool = Pool.of(example, self._size, _generator())
        known = None
        if pool.size and self._size != example.batch and not self._mixing:
            known = self._reference.answers_at_once(pool)
        self._answers = known or self._reference.answers_to(pool)
        self._tolerance = Tolerance.of(self._answers.values())
        self._outputs = {case: self._run(self._file, case.example) for case in self._answers}

    def proof(self) -> Proof:
        """Judge the outputs that were computed."""
        perturbed = cache(lambda case: self._reference.perturbed_outputs(case.example))
        names, casts = self._file.output_names, self._feed.casts
        judge = Judge(names, self._answers, self._tolerance, perturbed, casts)
        optimized = judge.judge(self._outputs)
        outputs, notes = self._run_unoptimized()
        unoptimized = judge.judge(outputs, optimized=False)
        blamed = {case for case in outputs if not unoptimized.fails(case)}
        checks = [
            *(
                _blaming_optimizations(check) if case in blamed else check
                for case, those in optimized.checks.items()
                for check in those
            ),
            *(check for those in unoptimized.checks.values() for check in those),
        ]
        rows = list(self._row_checks())
        passed = all(check.passed for check in (*checks, *rows))
        verdict = "agrees with" if passed else "DIFFERS from"
        discontinuous = optimized.excused | unoptimized.excused
        more = self._notes(discontinuous, rows)
        report = Report(
            f"{self._path.name} {verdict} {type(self._model).__name__}",
            checks=(*checks, *rows),
            facts=agreement(names, self._answers, self._outputs),
            notes=(*self._reference.notes, *self._feed.notes, *notes, *more),
        )
        return Proof(report, self._divergent_input(optimized, unoptimized))

    def _run_unoptimized(self) -> tuple[dict[Case, Outputs], tuple[str, ...]]:
        """Run the file without optimizations on the given inputs; or note why that fails."""
        try:
            file = OnnxRunner(self._path, unoptimized=True)
        except ExportError as failure:
            return {}, (f"not run without graph optimizations: {failure}",)
        given = (case for case in self._answers if case.given)
        return {case: self._run(file, case.example) for case in given}, ()

    def _divergent_input(self, optimized: Verdict, unoptimized: Verdict) -> Example | None:
        """Return the smallest input that fails, unless ONNX Runtime's optimizations are why."""
        for case in self._answers:
            if case.given and optimized.fails(case) and not unoptimized.fails(case):
                return None
        wrong = [c for c in self._answers if optimized.fails(c) or unoptimized.fails(c)]
        smallest = min(wrong, key=lambda case: len(case.rows), default=None)
        return smallest.example if smallest else None

    def _batch_size(self, example: Example) -> int | None:
        """Return the file's fixed batch size, or None where it may have any."""
        fed = self._feed.tensors.items()
        sizes = [self._file.first_axis(name) for name, t in fed if example.is_batched(t)]
        return next((size for size in sizes if size), None)

    def _run(self, file: OnnxRunner, example: Example) -> Outputs:
        return file.run(file.feed(named_tensors(self._model, example)))

    def _row_checks(self) -> Iterator[Check]:
        """Compare the first and last row of a batch with the same rows in another batch.

        With a dynamic batch size the row is run alone; else the other rows are replaced. A file
        that normalizes by the batch's own statistics fails, even where it agrees with the model.
        """
        case = max(reversed(self._answers), key=lambda case: len(case.rows))
        together, size = self._outputs[case], len(case.rows)
        if self._mixing or isinstance(together, str) or size < 2:
            return  # mixing norms are meant to fail a row check
        if self._size is not None and not self._reference.accepts(case.example.rows([0])):
            return
        for row in (0, size - 1):
            place, elsewhere = self._in_other_batch(case, row)
            if isinstance(elsewhere, str):
                continue
            for index, (whole, single) in enumerate(zip(together, elsewhere, strict=True)):
                if (
                    whole.dim() == 0
                    or len(whole) != size
                    or (index, "peak") not in self._tolerance.model_error
                ):
                    continue  # no row of this output belongs to a row of the input
                error = relative_error(single[place], whole[row], "peak")
                allowed = self._tolerance.allowed(index, "peak")
                label, name = f"row {row} of {case.name}", self._file.output_names[index]
                yield Check(label, name, "rows", error, allowed, error <= allowed)

    def _in_other_batch(self, case: Case, row: int) -> tuple[int, Outputs]:
        """Run a row in another batch; return its place there, and the file's outputs."""
        if self._size is not None:
            other = case.example.with_other_rows(row, _generator())
            return row, self._run(self._file, other)
        alone = (case.rows[row],)
        known = next((got for c, got in self._outputs.items() if c.rows == alone), None)
        return 0, known or self._run(self._file, case.example.rows([row]))

    def _notes(self, discontinuous: Collection[str], rows: Collection[Check]) -> Iterator[str]:
        """Yield the notes: what the figures do not prove, and why."""
        if discontinuous:
            yield (
                f"the model's own output {', '.join(sorted(discontinuous))} is discontinuous, as "
                "the position of a maximum is: where rounding errors of the input change it, the "
                "file may give any value that the model itself gives"
            )
        if self._mixing:
            yield (
                "rows are not compared in other batches: the output of a row depends on its batch "
                f"on purpose, because norms adapt to it ({', '.join(self._mixing)}), in the file "
                "too; for a fixed function recompute the statistics on target data and revert the "
                "model"
            )
        elif not rows:
            yield ("no row was compared in another batch: there is only one, or no output has rows")
        if self._tolerance.noise and self._reference.is_random(next(iter(self._answers)).example):
            yield (
                "the model draws random numbers in eval mode, so that agreement proves little; "
                "find the dropout that is called with training=True"
            )
        elif self._tolerance.noise:
            yield (
                "the model itself is ill-conditioned: its own rounding error is "
                f"{self._tolerance.noise:.1e} of its output, so that agreement proves little"
            )


def _generator() -> torch.Generator:
    """Return a generator of its own for each draw, so that no draw depends on another."""
    return torch.Generator().manual_seed(SEED)


def _blaming_optimizations(check: Check) -> Check:
    """Return a check, which says if it failed that only the optimized file fails."""
    if check.passed:
        return check
    return replace(check, detail=check.detail or _BLAME.format(check.error, check.allowed))
