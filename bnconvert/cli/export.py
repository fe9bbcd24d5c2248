"""`bnconvert export`: fold a model, and write a verified ONNX file."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnconvert.cli.file_options import file_settings, with_file_options
from bnconvert.cli.models.model_options import ModelChoice, with_program_options
from bnconvert.cli.options import (
    AllowNonfinite,
    BatchSize,
    CropPct,
    ImgSize,
    Input,
    Interpolation,
    Mean,
    Std,
    output_file,
)
from bnconvert.cli.preprocessing import PreprocessOption, parse_preprocess, preprocess_words
from bnconvert.cli.reports.report_options import with_report_options
from bnconvert.cli.values import has_images
from bnconvert.errors import UsageError
from bnconvert.reporting.progress import showing_progress

if TYPE_CHECKING:
    from torch import nn

    from bnconvert.exporting.input_choice import Preprocess
    from bnconvert.graphs.example import Inputs

#: The options that say how data are read, for the command that recomputes over the same data.
_READING = ("batch_size", "img_size", "crop_pct", "interpolation", "mean", "std")

Calibration = Annotated[
    str | None,
    typer.Option(
        "--calibrate",
        metavar="SOURCE",
        help="Recompute the statistics over this data first, as `bnconvert recompute` does; "
        "its --help says what SOURCE may be.",
    ),
]
VerifyData = Annotated[
    str | None,
    typer.Option(
        "--verify-data",
        metavar="SOURCE",
        help="Compare the file with the model on this data too, and report on how much of it both "
        "decide the same.",
    ),
]
VerifySamples = Annotated[
    int, typer.Option(min=1, metavar="N", help="Samples of --verify-data that are compared.")
]


@with_report_options
@with_program_options
@with_file_options
def command(
    context: typer.Context,
    chosen: ModelChoice,
    output: Annotated[Path, output_file("The file to write.")] = Path("model.onnx"),
    inputs: Input = None,
    calibrate: Calibration = None,
    verify_data: VerifyData = None,
    verify_samples: VerifySamples = 256,
    batch_size: BatchSize = 32,
    img_size: ImgSize = None,
    crop_pct: CropPct = None,
    interpolation: Interpolation = None,
    mean: Mean = None,
    std: Std = None,
    preprocess: PreprocessOption = None,
    allow_nonfinite: AllowNonfinite = None,
) -> None:
    """Fold MODEL, write it as ONNX and verify the file; a wrong one is kept as *.failed.onnx.

    One that cannot be judged is kept as *.unproven.onnx.
    """
    from bnconvert.cli.models.model_source import require_example
    from bnconvert.cli.reports.presentation import Presentation
    from bnconvert.exporting.export import export
    from bnconvert.exporting.failure_bundle import nonfinite_words

    presentation, scaling = Presentation.of(context), parse_preprocess(preprocess)
    require_raw(verify_data, scaling)
    given = {name: context.params[name] for name in _READING} | {"data": calibrate}
    raw = [*preprocess_words(scaling), *nonfinite_words(allow_nonfinite)]
    with showing_progress(first="loading the model") as say:
        loaded, example = chosen.load_in_eval(inputs, scaling)
        more: dict[str, Any] = {"allow_nonfinite": allow_nonfinite or (), "preprocess": scaling}
        more |= _data(context.params, chosen, loaded, example, given) | {"progress": say}
        with presentation.saving_failures(), _saying_how_to_compare_again(chosen, raw, given):
            given_inputs = require_example(example)
            more |= file_settings(context, loaded, given_inputs)
            result = export(loaded, given_inputs, output, **more)
    shown = presentation.show(result)
    shapes = [word for text in inputs or () for word in ("--input", text)]
    again = _again(chosen, output, [*shapes, *raw], given)
    presentation.tell(f"\nwrote {output}; to compare it again: {again}")
    presentation.finish(shown)


def require_raw(verify_data: str | None, preprocess: "Preprocess | None") -> None:
    """Refuse images to verify on, which are read normalized, for a file that takes raw ones.

    Raises:
        UsageError: that is so.
    """
    if preprocess is not None and has_images(verify_data or ""):
        raise UsageError(
            f"--verify-data {verify_data}: images are read normalized, and with --preprocess the "
            "file takes raw ones; give batches of raw ones with file.py:loader"
        )


def _data(
    given: Mapping[str, Any],
    chosen: ModelChoice,
    model: "nn.Module",
    example: "Inputs | None",
    again: dict[str, Any],
) -> dict[str, Iterable[Any]]:
    """Return the batches of --calibrate and of --verify-data, by the parameter of `export`.

    `again`, the options to calibrate once more, gets the size at which images are read.
    """
    from bnconvert.cli.sources.data_source import load_data, preprocessing_of

    found: dict[str, Iterable[Any]] = {}
    size = given["batch_size"]
    if given["calibrate"] is not None:
        images = preprocessing_of(chosen, model, example, given, given["calibrate"])
        if has_images(given["calibrate"]):
            again["img_size"] = images.img_size
        found["calibration"] = load_data(
            given["calibrate"], model, size, images, option="--calibrate"
        ).calibration(model)
    if given["verify_data"] is not None:
        source, most = given["verify_data"], given["verify_samples"]
        images = preprocessing_of(chosen, model, example, given, source)
        data = load_data(source, model, size, images, most, option="--verify-data")
        found["verify_inputs"] = (data.inputs(batch) for batch in data.first(most))
    return found


@contextlib.contextmanager
def _saying_how_to_compare_again(
    chosen: ModelChoice, raw: list[str], given: dict[str, Any]
) -> Iterator[None]:
    """Where the verification inside fails, or proves nothing, say the whole command with MODEL."""
    from bnconvert.errors import InconclusiveError, VerificationError

    def known(failure: InconclusiveError | VerificationError) -> tuple[Any, ...]:
        again = ""
        if failure.bundle is not None and failure.path is not None:
            again = _again(chosen, failure.path, ["--input", str(failure.bundle), *raw], given)
        return failure.report, failure.path, failure.bundle, again

    try:
        yield
    except InconclusiveError as failure:
        raise InconclusiveError(failure.reasons, *known(failure)) from failure
    except VerificationError as failure:
        raise VerificationError(failure.failures, *known(failure)) from failure


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
