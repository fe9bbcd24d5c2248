"""`bnconvert verify`: a model against an ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from bnconvert.cli.options import Input, Model, Preprocess, ReportPath, Weights
from bnconvert.progress import shown


def command(
    model: Model,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The ONNX file.")],
    weights: Weights = None,
    inputs: Input = None,
    preprocess: Preprocess = None,
    report: ReportPath = None,
) -> None:
    """Compare MODEL with an ONNX FILE, whoever wrote it; name the operator where they diverge."""
    from bnconvert.cli.loading import load, required
    from bnconvert.cli.output import saved_on_failure, show
    from bnconvert.deployment import verify

    with shown(first="loading the model") as say:
        loaded, example = load(model, weights, inputs)
        with saved_on_failure(report):
            result = verify(loaded, file, required(example), preprocess=preprocess, progress=say)
    show(result, report)
