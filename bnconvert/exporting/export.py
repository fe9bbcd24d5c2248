"""`export`: from a model to an ONNX file that is proven to compute the same function."""

import contextlib
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bnconvert.errors import ExportError, InconclusiveError, OutputError, VerificationError
from bnconvert.exporting.candidate import STEPS, Candidate
from bnconvert.exporting.failure_bundle import Outcome, bundle_of, nonfinite_words, write_bundle
from bnconvert.exporting.input_choice import Preprocess, describe, raw_inputs
from bnconvert.exporting.metadata import metadata
from bnconvert.exporting.origin import Origin
from bnconvert.exporting.preconditions import require_exportable
from bnconvert.exporting.users_data import proven_on_data
from bnconvert.exporting.writing import onnx_weights
from bnconvert.exporting.writing.onnx_contents import OnnxContents
from bnconvert.exporting.writing.onnx_form import OnnxForm
from bnconvert.folding.folding import Folded
from bnconvert.graphs.example import Example, Inputs
from bnconvert.modules.ambient_modes import usual_modes
from bnconvert.modules.copies.copying import copy_sharing_parameters
from bnconvert.modules.copies.preserving import preserved, restored
from bnconvert.reporting.progress import Progress, Steps
from bnconvert.reporting.report import Report
from bnconvert.reporting.whole_file import (
    disk_is_full,
    folder_beside,
    require_writable,
    unwritable,
)
from bnconvert.statistics.recomputation import recompute_statistics
from bnconvert.torch_private.one_at_a_time import one_at_a_time
from bnconvert.verification.compared_inputs import Claim
from bnconvert.verification.verification import failure_sentences, unproven_sentences

_CALIBRATING = "recomputing statistics"


@one_at_a_time()
@usual_modes()
def export(
    model: nn.Module,
    example_inputs: Inputs,
    path: str | Path,
    *,
    calibration: Iterable[Any] | None = None,
    verify_inputs: Iterable[Any] | None = None,
    dynamic_shapes: Any = None,
    preprocess: Preprocess | None = None,
    opset: int | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dtype: torch.dtype | None = None,
    allow_nonfinite: Collection[str] = (),
    progress: Progress | None = None,
) -> Report:
    """Fold the eval model, write it as ONNX, and verify that the file computes the same function.

    A copy, its frozen norms turned back into plain batch norm, is folded in float64 and written
    to a temporary file, which moves to `path` only when it is verified: within the float64
    tolerance at several batch sizes, and every row independent of its batch. Where the statistics
    are those of an untrained norm, which hide folding bugs, the same is proven for a copy with
    other statistics too. What torch.onnx cannot write as a graph, such as a detector, is written
    as one traced forward with its parts folded, and finding BN412 says what that means.

    Args:
        model: an eager module; it is not changed.
        example_inputs: a tuple of positional inputs, or a mapping of keyword inputs; real ones
            prove more than random ones.
        path: the file to write.
        calibration: batches as for `recompute_statistics`: the copy gets precise statistics over
            them before it is folded, and the file is compared with that. The report has the rows.
        verify_inputs: batches of real data, as for `recompute_statistics`, on which the file is
            compared as well, as the file takes them: the report then has the share of samples,
            pixels or boxes on which both decide the same.
        dynamic_shapes: as for torch.export, or with the names of axes that may have any size, as
            for torch.onnx.export: {"x": {0: "batch", 2: "height", 3: "width"}}; by default the
            batch size may vary, where the exporter can write that (a note says where not).
        preprocess: (mean, std), each one number, one for each channel, or a tensor that
            broadcasts: the file computes (x - mean) / std itself, as far as possible in its
            first convolution; then `example_inputs` are raw, of any dtype. Channels are axis 1,
            or the one axis of that size; of several inputs, name those that are raw:
            {"left": (mean, std)}. Calibration batches stay as the model takes them.
        opset: the version of ONNX's own operators; by default what torch.onnx writes.
        input_names: one for each input of the file; by default those of the forward's parameters.
        output_names: one for each output; by default the keys of the dict, or the fields of the
            dataclass, that the forward returns.
        dtype: torch.float16 for a file in half precision, folded in float64 and rounded once. It
            may be as far off as the model itself would be in float16.
        allow_nonfinite: the file's outputs in which NaN and infinity are meant, by name.
        progress: called as that of `recompute_statistics`: with how many steps are done, of how
            many, and the one that begins.

    Returns:
        The report: norms, checks, files.

    Raises:
        VerificationError: the numbers disagree; the file is kept as `*.failed.onnx`, and what
            reproduces that, but for the weights, as `*.failed.zip`.
        InconclusiveError: nothing differs, but the comparison proves too little: an output is
            empty, not finite, noise or always the same, or weights move nothing that was
            compared. The file is kept as `*.unproven.onnx`, what reproduces that as
            `*.unproven.zip`.
        ExportError: a norm is in training mode or remembers the test stream, the eval forward
            changes a buffer, `preprocess` may mean several inputs or axes, names, opset or dtype
            do not fit, or the file cannot be written or run.
        CaptureError: neither the model nor any part of it can be captured, or only parts can
            and `dynamic_shapes` are given.
        UnsupportedModelError: the model is wrapped, compiled or scripted.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
        >>> report = bnc.export(net, (torch.randn(2, 3, 8, 8),), "model.onnx")
        >>> report.title, report.facts["folded"], report.facts["BatchNormalization nodes"]
        ('model.onnx agrees with Sequential', 1, 0)
    """
    steps = Steps(progress, *([] if calibration is None else [_CALIBRATING]), *STEPS)
    require_exportable(model)
    form = OnnxForm.of(opset, input_names, output_names, dtype)
    example, target, given = Example.of(example_inputs), Path(path), model
    raw = raw_inputs(model, example, preprocess)
    with _scratch(target) as scratch, restored(given):
        model, calibrated = _calibrated(model, calibration, steps)
        path = scratch / target.name
        claim = Claim(raw=raw, allow_nonfinite=allow_nonfinite)
        candidate = Candidate.written(model, example, dynamic_shapes, path, claim, form, steps)
        candidate, proof = candidate.proven(steps)
        proof, failing = proven_on_data(proof, model, path, verify_inputs, claim, steps)
        proof = replace(proof, notes=(*proof.notes, *describe(raw)))
        file, was = OnnxContents.of(path), calibrated is not None
        report = _report(candidate.folded, proof, file, calibrated)
        known = candidate.folded.report.digests
        origin = Origin.of(model, raw, known, dynamic_axes=file.input_axes, calibrated=was)
        report = replace(report, digests=origin.digests | {"file": file.digest()})
        file.label(metadata(origin, report))
        if report.verdict != "agrees":
            raise _kept(path, target, failing or example, report, origin, allow_nonfinite)
        onnx_weights.move(path, target)
    return report


def _kept(
    path: Path,
    target: Path,
    example: Example,
    report: Report,
    origin: Origin,
    nonfinite: Collection[str],
) -> VerificationError | InconclusiveError:
    """Keep a file that is not proven, and what reproduces that; return the error to raise."""
    why: Outcome = "failed" if report.failures else "unproven"
    kept, bundle = _moved(path, target, why), bundle_of(target, why)
    again = _verify_command(kept, bundle, origin, nonfinite)
    written = write_bundle(bundle, example, report, again)
    if why == "failed":
        return VerificationError(failure_sentences(report), report, kept, written, again)
    return InconclusiveError(unproven_sentences(report), report, kept, written, again)


def _verify_command(kept: Path, bundle: Path, origin: Origin, nonfinite: Collection[str]) -> str:
    """Return the command that compares a file again."""
    weights = ["--weights", "RECOMPUTED"] if origin.calibrated else []
    raw = origin.preprocess_options() or []
    given = ["--input", str(bundle), *weights, *raw, *nonfinite_words(nonfinite)]
    return shlex.join(["bnconvert", "verify", "MODEL", str(kept), *given])


def _moved(path: Path, target: Path, why: str) -> Path:
    """Keep a file that is not proven under another name than the one that was asked for."""
    kept = target.with_name(f"{target.stem}.{why}{target.suffix}")
    onnx_weights.move(path, kept)
    return kept


@contextlib.contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """Yield a folder beside the file, made before the work so that a bad place is found then.

    Raises:
        ExportError: nothing can be written there, or no longer.
    """
    try:
        require_writable(target)
        if target.exists() and not target.is_file():
            raise OutputError(f"{target}: is not a file; name one, such as model.onnx")
        with folder_beside(target) as folder:
            yield folder
    except OutputError as failure:
        raise ExportError(str(failure)) from failure
    except (OSError, ExportError) as failure:
        if full := disk_is_full(failure):
            raise ExportError(unwritable(target, full)) from failure
        raise


def _calibrated(
    model: nn.Module, batches: Iterable[Any] | None, steps: Steps
) -> tuple[nn.Module, Report | None]:
    """Return a copy with precise statistics and how far they moved; or the model itself."""
    if batches is None:
        return model, None
    copy = copy_sharing_parameters(model)
    steps.begin(_CALIBRATING)

    def step(done: int, total: int | None, what: str) -> None:
        steps.tell(f"{_CALIBRATING}: {what}")

    with preserved(model):
        return copy, recompute_statistics(copy, batches, progress=step).report


def _report(folded: Folded, proof: Report, file: OnnxContents, calibrated: Report | None) -> Report:
    """Combine the reports of recomputing, folding and verifying, with figures of the file."""
    norms = folded.report.norms
    outcomes = Counter(row.outcome for row in norms)
    folds = Counter(row.fold for row in norms if row.outcome == "folded")
    worst = max(proof.checks, key=lambda c: c.error / c.allowed if c.allowed else c.error)
    facts: dict[str, str | int | float] = {
        "norms": len(norms),
        "folded": outcomes["folded"],
        **{f"folded, {fold}": count for fold, count in folds.items()},
        "standing": outcomes["standing"],
        "never called": outcomes["uncalled"],
        "BatchNormalization nodes": file.count("BatchNormalization"),
        "checks": f"{len(proof.checks) - len(proof.failures)} of {len(proof.checks)} hold",
        "tightest check": f"{worst.error:.1e} of {worst.allowed:.1e} allowed ({worst.case})",
        "size": f"{file.size / 1e6:.1f} MB",
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
