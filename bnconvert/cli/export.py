"""`bnconvert export`: a verified ONNX file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bnconvert.cli.options import BatchSize, Input, Model, ReportPath, Weights, output_file


def command(
    model: Model,
    output: Annotated[Path, output_file("The file to write.")] = Path("model.onnx"),
    weights: Weights = None,
    inputs: Input = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="Recompute the statistics over this data first, as `recompute` does, which has "
            "more options and says what SOURCE is.",
        ),
    ] = None,
    batch_size: BatchSize = 32,
    report: ReportPath = None,
) -> None:
    """Fold MODEL, write it as ONNX and prove the file; a failing one is kept as *.failed.onnx."""
    from bnconvert.cli.data import load_data
    from bnconvert.cli.loading import load, required
    from bnconvert.cli.output import progress, save, show
    from bnconvert.cli.preprocessing import Preprocessing
    from bnconvert.deployment import export
    from bnconvert.errors import VerificationError

    with progress("loading the model") as say:
        loaded, example = load(model, weights, inputs)
        batches = None
        if data:
            source = load_data(data, loaded, batch_size, Preprocessing.of(loaded))
            batches = source.calibration(loaded)
        try:
            result = export(loaded, required(example), output, calibration=batches, progress=say)
        except VerificationError as failure:
            save(failure.report, report)
            raise
    show(result, report)
    shapes = [word for text in inputs or () for word in ("--input", text)]
    given = {"data": data, "batch_size": batch_size, "weights": weights}
    typer.echo(f"\nwrote {output}; to compare it again: {_again(model, output, shapes, given)}")


def _again(model: str, output: Path, shapes: list[str], given: dict[str, Any]) -> str:
    """Return the commands that compare the file with the model that is in it."""
    from bnconvert.cli.output import command_line

    weights, first = given["weights"], ""
    if given["data"]:  # the file has other statistics than MODEL itself
        weights = output.with_suffix(".safetensors")
        first = command_line("recompute", model, **given, output=weights) + " && "
    return first + command_line("verify", model, str(output), *shapes, weights=weights)
