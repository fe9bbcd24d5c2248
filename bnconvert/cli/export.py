"""`bnconvert export`: fold a model, and write a verified ONNX file."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnconvert.cli.file_options import file_settings, with_file_options
from bnconvert.cli.model_options import ModelChoice, with_program_options
from bnconvert.cli.options import (
    AllowNonfinite,
    BatchSize,
    Input,
    output_file,
)
from bnconvert.cli.preprocessing import PreprocessOption, parse_preprocess, preprocess_words
from bnconvert.cli.report_options import with_report_options
from bnconvert.reporting.progress import showing_progress

if TYPE_CHECKING:
    from torch import nn

Calibration = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SOURCE",
        help="Recompute the statistics over this data first, as `bnconvert recompute` does; "
        "its --help says what SOURCE may be.",
    ),
]


@with_report_options
@with_program_options
@with_file_options
def command(
    context: typer.Context,
    chosen: ModelChoice,
    output: Annotated[Path, output_file("The file to write.")] = Path("model.onnx"),
    inputs: Input = None,
    data: Calibration = None,
    batch_size: BatchSize = 32,
    preprocess: PreprocessOption = None,
    allow_nonfinite: AllowNonfinite = None,
) -> None:
    """Fold MODEL, write it as ONNX and verify the file; a wrong one is kept as *.failed.onnx.

    One that cannot be judged is kept as *.unproven.onnx.
    """
    from bnconvert.cli.model_source import require_example
    from bnconvert.cli.presentation import Presentation
    from bnconvert.exporting.export import export

    presentation, scaling = Presentation.of(context), parse_preprocess(preprocess)
    given = {"data": data, "batch_size": batch_size}
    raw = preprocess_words(scaling)
    raw += [word for name in allow_nonfinite or () for word in ("--allow-nonfinite", name)]
    with showing_progress(first="loading the model") as say:
        loaded, example = chosen.load(inputs, scaling)
        more: dict[str, Any] = {"allow_nonfinite": allow_nonfinite or (), "progress": say}
        more |= {"calibration": _calibration(data, loaded, batch_size), "preprocess": scaling}
        with presentation.saving_failures(), _saying_how_to_compare_again(chosen, raw, given):
            given_inputs = require_example(example)
            more |= file_settings(context, loaded, given_inputs)
            result = export(loaded, given_inputs, output, **more)
    shown = presentation.show(result)
    shapes = [word for text in inputs or () for word in ("--input", text)]
    again = _again(chosen, output, [*shapes, *raw], given)
    presentation.tell(f"\nwrote {output}; to compare it again: {again}")
    presentation.finish(shown)


def _calibration(data: str | None, model: "nn.Module", batch_size: int) -> Iterable[Any] | None:
    """Return the batches to recompute the statistics over, or None without --data."""
    if data is None:
        return None
    from bnconvert.cli.data import load_data
    from bnconvert.cli.images import ImagePreprocessing

    return load_data(data, model, batch_size, ImagePreprocessing.of(model)).calibration(model)


@contextlib.contextmanager
def _saying_how_to_compare_again(
    chosen: ModelChoice, raw: list[str], given: dict[str, Any]
) -> Iterator[None]:
    """Print the whole command where the verification inside fails, or proves nothing."""
    from bnconvert.errors import InconclusiveError, VerificationError

    try:
        yield
    except (InconclusiveError, VerificationError) as failure:
        if failure.bundle is not None and failure.path is not None:
            words = ["--input", str(failure.bundle), *raw]
            again = _again(chosen, failure.path, words, given)
            typer.echo(f"to compare {failure.path} again: {again}", err=True)
        raise


def _again(chosen: ModelChoice, output: Path, more: list[str], given: dict[str, Any]) -> str:
    """Return the commands with which the user can verify the file again."""
    from bnconvert.cli.output import command_line

    verified, first = [chosen.source, str(output), *more, *chosen.words()], ""
    if given["data"]:  # the file has other statistics than MODEL itself
        weights = output.with_suffix(".safetensors")
        words = (chosen.source, *chosen.words())
        first = command_line("recompute", *words, **given, output=weights) + " && "
        verified = [chosen.source, str(output), *more, *chosen.words(weights)]
    return first + command_line("verify", *verified)
