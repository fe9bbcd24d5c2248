"""`export` and `verify`: the deployment side's verbs, from a model to a proven ONNX file."""

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bnconvert import onnx_file
from bnconvert.deployable import require_deployable
from bnconvert.errors import ExportError, VerificationError
from bnconvert.examples import Example, Inputs
from bnconvert.folding import Folded, fold
from bnconvert.measuring.replicas import twin
from bnconvert.parting.search import localized
from bnconvert.preprocessed import Preprocess, with_preprocess
from bnconvert.program import exported_program
from bnconvert.provenance import provenance
from bnconvert.reporting.report import Report
from bnconvert.statistics import recompute_statistics
from bnconvert.tracing import require_eager
from bnconvert.untrained import jittered, untrained_norms
from bnconvert.verifying import SEED, prove, sentences

Progress = Callable[[str], None]


def export(
    model: nn.Module,
    example_inputs: Inputs,
    path: str | Path,
    *,
    calibration: Iterable[Any] | None = None,
    dynamic_shapes: Any = None,
    preprocess: Preprocess | None = None,
    progress: Progress | None = None,
) -> Report:
    """Fold the eval model, write it as ONNX, and prove that the file computes the same function.

    A copy is settled (frozen norms back to plain batch norm), folded in float64 and written to
    a temporary file, which moves to `path` only when it is verified: within the float64 budget
    at several batch sizes, and every row independent of its batch. Where the statistics are
    those of an untrained norm, which hide folding bugs, the same is proven for a copy with
    other statistics too.

    Args:
        model: an eager module; it is not changed.
        example_inputs: a tuple of positional inputs, or a mapping of keyword inputs; real ones
            prove more than random ones.
        path: the file to write.
        calibration: batches as for `recompute_statistics`: the copy gets precise statistics over
            them before it is folded, and the file is compared with that. The report has the rows.
        dynamic_shapes: as for torch.export; by default the batch size may vary.
        preprocess: (mean, std), numbers or one for each channel: the file computes
            (x - mean) / std itself, as far as possible in its first convolution; then
            `example_inputs` are raw. Calibration batches stay as the model takes them.
        progress: called with a few words when the next step starts.

    Returns:
        The report: norms, checks, files.

    Raises:
        VerificationError: the numbers disagree; the file is kept as `*.failed.onnx`.
        ExportError: a norm is in training mode or remembers the test stream, or the file cannot
            be written or run.
        CaptureError: the model cannot be captured.
        UnsupportedModelError: the model is wrapped, compiled or scripted.
    """
    say = progress or _silent
    require_eager(model)
    require_deployable(model)
    target = Path(path)
    if not target.parent.is_dir():
        raise ExportError(f"{target}: there is no folder {target.parent}; make it first")
    model, calibrated = _calibrated(model, calibration, say)
    model = model if preprocess is None else with_preprocess(model, preprocess)
    example = Example.of(example_inputs)
    with tempfile.TemporaryDirectory(prefix=".bnconvert-", dir=target.parent) as scratch:
        draft = Path(scratch) / target.name
        folded = _write(model, example_inputs, dynamic_shapes, draft, say)
        untrained = bool(untrained_norms(model))
        simplify = not untrained and dynamic_shapes is None
        proof = _proof(model, example, draft, folded, say, simplify=simplify)
        if untrained and not proof.failures:
            say("verifying a copy with other statistics: the given ones are untrained")
            proof = _proof_with_jitter(model, example, dynamic_shapes, proof, draft, say)
        report = _report(folded, proof, draft, calibrated)
        onnx_file.label(draft, provenance(model, report))
        if report.failures:
            kept = target.with_name(f"{target.stem}.failed{target.suffix}")
            onnx_file.move(draft, kept)
            raise VerificationError(sentences(report), report, kept)
        onnx_file.move(draft, target)
    return report


def verify(
    model: nn.Module,
    onnx_path: str | Path,
    inputs: Inputs,
    *,
    progress: Progress | None = None,
) -> Report:
    """Compare a model with an ONNX file, whoever wrote it, on given and generated inputs.

    Inputs are matched by name, and the rest in order; where the file fixes the batch size, the
    rows are compared in batches of that size. On failure the report names the first operator of
    the file that computes something else.

    Args:
        model: an eager module; compared in eval mode.
        onnx_path: the file.
        inputs: real inputs; a tuple of positional ones, or a mapping of keyword ones.
        progress: called with a few words when the next step starts.

    Returns:
        The report with every figure.

    Raises:
        VerificationError: the numbers disagree; it carries the report.
        ExportError: there is no such file, ONNX Runtime cannot load it, or it takes other inputs.
    """
    require_eager(model)
    path = Path(onnx_path)
    if not path.is_file():
        raise ExportError(f"{path}: there is no such file; export the model first")
    proof = prove(model, Example.of(inputs), path)
    report = localized(proof, model, path, None, progress or _silent)
    if report.failures:
        raise VerificationError(sentences(report), report)
    return report


def _write(
    model: nn.Module, inputs: Inputs, dynamic_shapes: Any, draft: Path, say: Progress
) -> Folded:
    say("capturing and folding")
    folded = fold(model, inputs, dynamic_shapes=dynamic_shapes)
    say("writing ONNX")
    captured = folded.captured
    shapes = captured.dynamic_shapes
    onnx_file.write(
        exported_program(captured.module, captured.range_constraints) or folded.module,
        captured.example.args,
        captured.example.kwargs,
        onnx_file.with_named_batch(shapes) if dynamic_shapes is None else shapes,
        draft,
    )
    return folded


def _proof(
    model: nn.Module,
    example: Example,
    draft: Path,
    folded: Folded,
    say: Progress,
    *,
    simplify: bool,
) -> Report:
    """Prove a file, in a simpler form where that holds too; where none does, say where it parts."""
    simpler = onnx_file.simplified(draft) if simplify else None
    say("verifying")
    if simpler is not None:
        with contextlib.suppress(ExportError):  # ONNX Runtime does not take it
            report = prove(model, example, simpler).report
            if not report.failures:
                onnx_file.move(simpler, draft)
                return report
    return localized(prove(model, example, draft), model, draft, folded, say)


def _proof_with_jitter(
    model: nn.Module,
    example: Example,
    dynamic_shapes: Any,
    proof: Report,
    draft: Path,
    say: Progress,
) -> Report:
    shaken = jittered(model, torch.Generator().manual_seed(SEED))
    other = draft.with_name("jittered.onnx")
    again = _write(shaken, example.kwargs or example.args, dynamic_shapes, other, _silent)
    second = _proof(shaken, example, other, again, _silent, simplify=False)
    renamed = (replace(check, case=f"other statistics, {check.case}") for check in second.checks)
    note = (
        "the given statistics are untrained (mean 0, variance 1), which hides folding bugs: "
        "a copy with other statistics was exported and compared as well"
    )
    return replace(
        proof,
        checks=(*proof.checks, *renamed),
        findings=second.findings,
        notes=(*proof.notes, note),
    )


def _calibrated(
    model: nn.Module, batches: Iterable[Any] | None, say: Progress
) -> tuple[nn.Module, Report | None]:
    """Return a copy with precise statistics and how far they moved; or the model itself."""
    if batches is None:
        return model, None
    model = twin(model)

    def step(done: int, total: int | None, what: str) -> None:
        say(f"recomputing statistics: {what}")

    return model, recompute_statistics(model, batches, progress=step).report


def _report(folded: Folded, proof: Report, draft: Path, calibrated: Report | None) -> Report:
    norms = folded.report.norms
    worst = max(proof.checks, key=lambda c: c.error / c.allowed if c.allowed else c.error)
    facts: dict[str, str | int | float] = {
        "norms": len(norms),
        "folded": folded.report.count("folded"),
        **{f"folded, {fold}": count for fold, count in _by_fold(folded.report).items()},
        "standing": folded.report.count("standing"),
        "never called": folded.report.count("uncalled"),
        "BatchNormalization nodes": onnx_file.count_operators(draft, "BatchNormalization"),
        "checks": f"{len(proof.checks) - len(proof.failures)} of {len(proof.checks)} hold",
        "tightest check": f"{worst.error:.1e} of {worst.allowed:.1e} allowed ({worst.case})",
        "size": f"{sum(f.stat().st_size for f in onnx_file.files_of(draft)) / 1e6:.1f} MB",
    }
    moved = calibrated or Report("")
    notes = (*moved.notes, *folded.report.notes, *proof.notes)
    facts |= proof.facts
    findings = (*folded.report.findings, *proof.findings)
    return replace(
        proof,
        norms=norms,
        statistics=moved.statistics,
        findings=findings,
        facts=facts,
        notes=notes,
    )


def _by_fold(report: Report) -> Counter[str]:
    """Return how many norms each fold took."""
    return Counter(row.fold for row in report.norms if row.outcome == "folded")


def _silent(step: str) -> None:
    """Say nothing."""
