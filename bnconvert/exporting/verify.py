"""`verify`: compare a model with an ONNX file of any exporter."""

from collections.abc import Collection
from pathlib import Path

from torch import nn

from bnconvert.errors import ExportError, InconclusiveError, VerificationError
from bnconvert.exporting.candidate import VERIFYING, graphs_of
from bnconvert.exporting.preprocessing import Preprocess, with_preprocess
from bnconvert.folding.folding import fold
from bnconvert.graphs.example import Example, Inputs
from bnconvert.modules.survey import require_eager
from bnconvert.reporting.progress import Progress, Steps
from bnconvert.reporting.report import Report
from bnconvert.verification.compared_inputs import Claim
from bnconvert.verification.localization import Graphs, localize
from bnconvert.verification.verification import failure_sentences, prove, unproven_sentences


def verify(
    model: nn.Module,
    onnx_path: str | Path,
    inputs: Inputs,
    *,
    preprocess: Preprocess | None = None,
    allow_nonfinite: Collection[str] = (),
    progress: Progress | None = None,
) -> Report:
    """Compare a model with an ONNX file of any exporter, on given and generated inputs.

    Inputs are matched by name, and the rest in order; where the file fixes the batch size, the
    rows are compared in batches of that size. On failure the report names the first operator of
    the file that computes something else.

    Args:
        model: an eager module; compared in eval mode.
        onnx_path: the file.
        inputs: real inputs; a tuple of positional ones, or a mapping of keyword ones.
        preprocess: (mean, std) where the file takes raw inputs, as for `export`.
        allow_nonfinite: the file's outputs in which NaN and infinity are meant, by name.
        progress: called as that of `recompute_statistics`: with how many steps are done, of how
            many, and the one that begins.

    Returns:
        The report with every figure.

    Raises:
        VerificationError: the numbers disagree; it carries the report.
        InconclusiveError: nothing differs, but the comparison proves too little, as for `export`.
        ExportError: there is no such file, ONNX Runtime cannot load it, or it takes other inputs.
    """
    require_eager(model)
    path = Path(onnx_path)
    if not path.is_file():
        raise ExportError(f"{path}: there is no such file; export the model first")
    model = model if preprocess is None else with_preprocess(model, preprocess)
    steps = Steps(progress, VERIFYING)
    steps.begin(VERIFYING)
    proof = prove(model, Example.of(inputs), path, Claim(allow_nonfinite=allow_nonfinite))

    def graphs(differing: Example) -> Graphs:
        # Any size would do: fixed ones are captured faster.
        fixed = differing.shapes(lambda leaf: None, model)
        return graphs_of(fold(model, differing, dynamic_shapes=fixed))

    report = localize(proof, model, path, graphs, steps.tell)
    if report.failures:
        raise VerificationError(failure_sentences(report), report)
    if report.verdict != "agrees":
        raise InconclusiveError(unproven_sentences(report), report)
    return report
