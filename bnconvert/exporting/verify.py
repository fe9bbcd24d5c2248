"""`verify`: compare a model, or another file, with an ONNX file of any exporter."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from bnconvert.errors import ExportError, InconclusiveError, VerificationError
from bnconvert.exporting.blame import Blame
from bnconvert.exporting.candidate import VERIFYING
from bnconvert.exporting.input_choice import Preprocess, raw_inputs
from bnconvert.exporting.preprocessing import with_preprocess
from bnconvert.exporting.writing import onnx_weights
from bnconvert.folding.folded_part import FoldedPart
from bnconvert.graphs.capture.capturing import capture
from bnconvert.graphs.capture.parts import Part
from bnconvert.graphs.example import Example, Inputs, require_no_arrays
from bnconvert.modules.ambient_modes import usual_modes
from bnconvert.modules.survey import require_runnable
from bnconvert.reporting.progress import Progress, Steps
from bnconvert.reporting.report import Report
from bnconvert.torch_private.one_at_a_time import one_at_a_time
from bnconvert.verification.compared_inputs import Claim
from bnconvert.verification.file_comparison import FileComparison
from bnconvert.verification.files.onnx_runtime import Runtime
from bnconvert.verification.localization import Graphs, localize
from bnconvert.verification.verification import failure_sentences, prove, unproven_sentences


@one_at_a_time()
@usual_modes()
def verify(
    model: nn.Module | str | Path,
    onnx_path: str | Path,
    inputs: Inputs,
    *,
    preprocess: Preprocess | None = None,
    allow_nonfinite: Collection[str] = (),
    tolerance: float | None = None,
    agreement: float | None = None,
    runtime: str = "onnxruntime",
    providers: Sequence[str] = (),
    progress: Progress | None = None,
) -> Report:
    """Compare a model, or another file, with an ONNX file, on given and generated inputs.

    Inputs are matched by name, and the rest in order; where the file fixes the batch size, the
    rows are compared in batches of that size. A file in float16, bfloat16 or int8 may be as far
    off as the model itself would be in that precision. On failure the report names the cause:
    that a file of `export` was made from other weights or with another `preprocess`, else the
    first operator of the file that computes something else.

    Args:
        model: an eager module, compared in eval mode; or the path of the ONNX file that is right,
            such as the one that a tool optimized or quantized: its own numbers are the truth then.
        onnx_path: the file.
        inputs: real inputs; a tuple of positional ones, or a mapping of keyword ones.
        preprocess: (mean, std) where the file takes raw inputs, as for `export`.
        allow_nonfinite: the file's outputs in which NaN and infinity are meant, by name.
        tolerance: allow this relative root mean square error of every output (and 16 times as much
            of a single number) instead of what is measured on the model.
        agreement: the share of the given rows whose best class must be the model's, as 0.99; for
            outputs of shape (N, classes).
        runtime: what runs the file: "onnxruntime", or "openvino" where that is installed, on its
            CPU and in float32. Operators are localized in ONNX Runtime on the CPU.
        providers: of ONNX Runtime, as ("CUDAExecutionProvider",), in the order of preference.
        progress: called as that of `recompute_statistics`: with how many steps are done, of how
            many, and the one that begins.

    Returns:
        The report with every figure. A warning in it names norms whose statistics or weights
        hide what may be wrong.

    Raises:
        VerificationError: the numbers disagree; it carries the report.
        InconclusiveError: nothing differs, but the comparison proves too little, as for `export`.
        ExportError: there is no such file, ONNX Runtime cannot load it, or it takes other inputs.

    Examples:
        >>> net, x = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval(), torch.randn(2, 3, 8, 8)
        >>> torch.onnx.export(net, (x,), "model.onnx", dynamo=True, verbose=False)
        ONNXProgram...
        >>> print(bnc.verify(net, "model.onnx", (x,)).title)
        model.onnx agrees with Sequential
    """
    if not isinstance(model, str | Path):
        require_runnable(model)
    path, example = _readable(onnx_path), Example.of(inputs)
    require_no_arrays(example)
    claim = Claim(
        allow_nonfinite=allow_nonfinite,
        tolerance=tolerance,
        agreement=agreement,
        runtime=Runtime(runtime, tuple(providers)),
    )
    if isinstance(model, nn.Module):
        claim = replace(claim, raw=raw_inputs(model, example, preprocess))
        return _agreeing(_compared(model, path, example, claim, Steps(progress, VERIFYING)))
    if preprocess is not None or allow_nonfinite:
        raise ExportError(
            f"preprocess, allow_nonfinite: are for a model, and {model} is a file, which does "
            "what the other one must do too; leave them out"
        )
    return _agreeing(FileComparison(_readable(model), path, example, claim).report())


def _compared(model: nn.Module, path: Path, example: Example, claim: Claim, steps: Steps) -> Report:
    """Compare a model with a file; where they differ, say why, or localize the operator."""
    steps.begin(VERIFYING)
    blame = Blame.of(model, claim.raw, path)
    try:
        proof = prove(model, example, path, claim)
    except ExportError as failure:
        raise blame.of_inputs(failure) from failure
    if proof.report.failures and blame.differences:
        report = blame.blaming(proof.report)
        raise VerificationError(failure_sentences(report), report)

    def graphs(differing: Example) -> Graphs:
        # Any size would do: fixed ones are captured faster.
        whole = with_preprocess(model, claim.raw)
        captured = capture(whole, differing, differing.shapes(lambda leaf: None, model))
        return Graphs(captured.module, FoldedPart.of(Part("", captured)).module)

    return blame.explained(localize(proof, model, path, graphs, steps.tell))


def _readable(file: str | Path) -> Path:
    """Return the path of a file that exists, and reads nothing outside its folder."""
    path = Path(file)
    if path.is_dir():
        raise ExportError(f"{path}: is a folder; give the file in it")
    if not path.is_file():
        raise ExportError(f"{path}: there is no such file; export the model first")
    onnx_weights.require_contained(path)
    return path


def _agreeing(report: Report) -> Report:
    """Return a report that says that the file agrees; raise what else it says."""
    if report.failures:
        raise VerificationError(failure_sentences(report), report)
    if report.verdict != "agrees":
        raise InconclusiveError(unproven_sentences(report), report)
    return report
