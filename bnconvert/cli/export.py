"""`bnconvert export`: a verified ONNX file."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from bnconvert.cli.options import BatchSize, Input, Model, ReportPath, Weights


def command(
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")] = Path(
        "model.onnx"
    ),
    weights: Weights = None,
    inputs: Input = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Recompute the statistics over this data first, as `recompute` does, which has "
            "more options.",
        ),
    ] = None,
    batch_size: BatchSize = 32,
    report: ReportPath = None,
) -> None:
    """Fold MODEL, write it as ONNX and prove the file; a failing one is kept as *.failed.onnx."""
    from bnconvert.cli.data import calibration
    from bnconvert.cli.loading import load, required
    from bnconvert.cli.output import progress, save, show
    from bnconvert.deployment import export
    from bnconvert.errors import VerificationError

    with progress("loading the model") as say:
        loaded, example = load(model, weights, inputs)
        batches = calibration(data, loaded, batch_size) if data else None
        try:
            result = export(loaded, required(example), output, calibration=batches, progress=say)
        except VerificationError as failure:
            save(failure.report, report)
            raise
    show(result, report)
    again = ["bnconvert", "verify", model, str(output)]
    again += ["--weights", str(weights)] if weights else []
    again += [word for text in inputs or () for word in ("--input", text)]
    typer.echo(f"\nwrote {output}; to compare it again: {shlex.join(again)}")
