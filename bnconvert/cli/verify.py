"""`bnconvert verify`: compare a model with an ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from bnconvert.cli.options import AllowNonfinite, Input, Model, Preprocess, ReportPath, Weights
from bnconvert.reporting.progress import showing_progress


def command(
    model: Model,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The ONNX file.")],
    weights: Weights = None,
    inputs: Input = None,
    preprocess: Preprocess = None,
    allow_nonfinite: AllowNonfinite = None,
    report: ReportPath = None,
) -> None:
    """Compare MODEL with an ONNX FILE of any exporter; say at which operator they diverge."""
    from bnconvert.cli.model_source import load_model, require_example
    from bnconvert.cli.output import saved_on_failure, show
    from bnconvert.exporting.verify import verify

    with showing_progress(first="loading the model") as say:
        loaded, example = load_model(model, weights, inputs)
        with saved_on_failure(report):
            result = verify(
                loaded,
                file,
                require_example(example),
                preprocess=preprocess,
                allow_nonfinite=allow_nonfinite or (),
                progress=say,
            )
    show(result, report)
