"""`bnconvert verify`: a model against an ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from bnconvert.cli.options import Input, Model, Preprocess, ReportPath, Weights
from bnconvert.reporting.progress import shown


def command(
    model: Model,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The ONNX file.")],
    weights: Weights = None,
    inputs: Input = None,
    preprocess: Preprocess = None,
    report: ReportPath = None,
) -> None:
    """Compare MODEL with an ONNX FILE, whoever wrote it; name the operator where they diverge."""
    from bnconvert.cli.model_source import load_model, require_example
    from bnconvert.cli.output import saved_on_failure, show
    from bnconvert.exporting.verify import verify

    with shown(first="loading the model") as say:
        loaded, example = load_model(model, weights, inputs)
        with saved_on_failure(report):
            result = verify(
                loaded, file, require_example(example), preprocess=preprocess, progress=say
            )
    show(result, report)
