"""`bnconvert verify`: a model against an ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from bnconvert.cli.options import Input, Model, ReportPath, Weights


def command(
    model: Model,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The ONNX file.")],
    weights: Weights = None,
    inputs: Input = None,
    report: ReportPath = None,
) -> None:
    """Compare MODEL with an ONNX FILE, whoever wrote it; name the operator where they part."""
    from bnconvert.cli.loading import load, required
    from bnconvert.cli.output import progress, save, show
    from bnconvert.deployment import verify
    from bnconvert.errors import VerificationError

    with progress("loading the model") as say:
        loaded, example = load(model, weights, inputs)
        say("verifying")
        try:
            result = verify(loaded, file, required(example), progress=say)
        except VerificationError as failure:
            save(failure.report, report)
            raise
    show(result, report)
