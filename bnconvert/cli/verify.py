"""`bnconvert verify`: compare a model with an ONNX file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnconvert.cli.options import AllowNonfinite, Input, Model, ReportPath, Weights
from bnconvert.cli.preprocessing import PreprocessOption, parse_preprocess, preprocess_words
from bnconvert.reporting.progress import showing_progress

if TYPE_CHECKING:
    from bnconvert.reporting.report import Report


def command(
    model: Model,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The ONNX file.")],
    weights: Weights = None,
    inputs: Input = None,
    preprocess: PreprocessOption = None,
    allow_nonfinite: AllowNonfinite = None,
    report: ReportPath = None,
) -> None:
    """Compare MODEL with an ONNX FILE of any exporter; say at which operator they diverge.

    Where they do, what reproduces it is left beside FILE, as *.failed.zip; where that cannot be
    judged, as *.unproven.zip.
    """
    from bnconvert.cli.model_source import load_model, require_example
    from bnconvert.cli.output import command_line, saved_on_failure, show
    from bnconvert.errors import InconclusiveError, VerificationError
    from bnconvert.exporting.failure_bundle import Outcome, bundle_of
    from bnconvert.exporting.verify import verify

    scaling = parse_preprocess(preprocess)
    with showing_progress(first="loading the model") as say:
        loaded, example = load_model(model, weights, inputs, scaling)
        given = require_example(example)
        more: dict[str, Any] = {"allow_nonfinite": allow_nonfinite or (), "progress": say}
        try:
            with saved_on_failure(report):
                result = verify(loaded, file, given, preprocess=scaling, **more)
        except (InconclusiveError, VerificationError) as failure:
            why: Outcome = "failed" if isinstance(failure, VerificationError) else "unproven"
            bundle = bundle_of(file, why)
            words = [str(file), "--input", str(bundle), *preprocess_words(scaling)]
            again = command_line("verify", model, *words, weights=weights)
            _keep(bundle, given, failure.report, again)
            raise
    show(result, report)


def _keep(bundle: Path, inputs: Any, report: "Report", again: str) -> None:
    """Leave what reproduces a verification, and say how."""
    from bnconvert.exporting.failure_bundle import write_bundle
    from bnconvert.graphs.example import Example

    if write_bundle(bundle, Example.of(inputs), report, again) is not None:
        typer.echo(
            f"its inputs and all figures are in {bundle}; to compare again: {again}", err=True
        )
