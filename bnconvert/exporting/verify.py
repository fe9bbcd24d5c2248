"""`verify`: compare a model with an ONNX file of any exporter."""

from pathlib import Path

from torch import nn

from bnconvert.errors import ExportError, VerificationError
from bnconvert.exporting.candidate import VERIFYING, graphs_of
from bnconvert.exporting.preprocessing import Preprocess, with_preprocess
from bnconvert.folding.folding import fold
from bnconvert.graphs.example import Example, Inputs
from bnconvert.modules.survey import require_eager
from bnconvert.reporting.progress import Progress, Steps
from bnconvert.reporting.report import Report
from bnconvert.torch_private.one_at_a_time import one_at_a_time
from bnconvert.verification.localization import Graphs, localize
from bnconvert.verification.verification import failure_sentences, prove


@one_at_a_time()
def verify(
    model: nn.Module,
    onnx_path: str | Path,
    inputs: Inputs,
    *,
    preprocess: Preprocess | None = None,
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
        progress: called as that of `recompute_statistics`: with how many steps are done, of how
            many, and the one that begins.

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
    model = model if preprocess is None else with_preprocess(model, preprocess)
    steps = Steps(progress, VERIFYING)
    steps.begin(VERIFYING)
    proof = prove(model, Example.of(inputs), path)

    def graphs(differing: Example) -> Graphs:
        # Any size would do: fixed ones are captured faster.
        fixed = differing.shapes(lambda leaf: None, model)
        return graphs_of(fold(model, differing, dynamic_shapes=fixed))

    report = localize(proof, model, path, graphs, steps.tell)
    if report.failures:
        raise VerificationError(failure_sentences(report), report)
    return report
