"""The arguments and options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


def _in_a_folder(path: Path | None) -> Path | None:
    """Refuse a file whose folder does not exist, before the work and not after it."""
    if path is not None and not path.parent.is_dir():
        raise typer.BadParameter(f"{path}: there is no folder {path.parent}; make it first")
    return path


def _picture(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() not in _PICTURES:
        raise typer.BadParameter(f"{path}: is no picture; use one of {', '.join(_PICTURES)}")
    return _in_a_folder(path)


def output_file(text: str) -> Any:
    """Return the option for the file that a command writes."""
    return typer.Option("-o", "--output", metavar="FILE", callback=_in_a_folder, help=text)


_PICTURES = (".png", ".svg", ".pdf")
_IMAGES, _SCORES = "Images, from files", "Scores"

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="file.py:factory, package.module:factory, timm:NAME or torchvision:NAME.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="A state_dict: .safetensors, or .pt that loads with weights_only=True.",
    ),
]
PolicyRules = Annotated[
    list[str],
    typer.Option(
        "--policy",
        metavar="RULE",
        help="policy.toml, REWRITE for every norm, or PATTERN=REWRITE; once per rule, the first "
        "match wins: --policy 'backbone.*=Frozen()' --policy 'head.*=Group(32) | Keep()'.",
    ),
]
Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="SHAPE",
        help="An example input of random numbers, as 1,3,224,224 or x:1,3,224,224 or "
        "ids:1,16:int64; once per input.",
    ),
]


def _mean_and_std(text: str | None) -> tuple[list[float], list[float]] | None:
    """Read numbers from MEAN/STD, each one or one per channel."""
    if text is None:
        return None
    try:
        mean, std = ([float(number) for number in part.split(",")] for part in text.split("/"))
    except ValueError as failure:
        raise typer.BadParameter(
            f"{text}: write MEAN/STD, as 127/128 or 0.5,0.5,0.5/0.25,0.25,0.25"
        ) from failure
    return mean, std


Preprocess = Annotated[
    Any,
    typer.Option(
        "--preprocess",
        metavar="MEAN/STD",
        parser=_mean_and_std,
        help="The file takes raw inputs, and computes (x - MEAN) / STD itself; numbers, or one "
        "per channel, as 127/128 or 0.5,0.5,0.5/0.25,0.25,0.25.",
    ),
]
ReportPath = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        callback=_in_a_folder,
        help="Also write the report here, as JSON or .html.",
    ),
]
DataSource = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="SOURCE",
        help="Real data: images:DIR, imagefolder:DIR (a folder per class, classes in the order of "
        "their names), npz:FILE (arrays named as the forward's parameters; y or labels are "
        "classes), package.module:loader or file.py:loader (batches, or a function that returns "
        "them).",
    ),
]
BatchSize = Annotated[
    int, typer.Option(min=1, metavar="N", help="Samples per batch, of files and arrays.")
]
Samples = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Stop after the batch with which N samples are read."),
]
ImgSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        rich_help_panel=_IMAGES,
        help="Side of the images, in pixels. This and the others: by default what a timm model "
        "says of itself, else 224, 0.875, bilinear and ImageNet's mean and std.",
    ),
]
CropPct = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=1,
        metavar="PART",
        rich_help_panel=_IMAGES,
        help="Which part of the shorter side is kept, in the middle.",
    ),
]


class Resampling(StrEnum):
    """How pixels are interpolated."""

    nearest = "nearest"
    bilinear = "bilinear"
    bicubic = "bicubic"
    lanczos = "lanczos"
    box = "box"
    hamming = "hamming"


Interpolation = Annotated[
    Resampling | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=_IMAGES,
        help=f"How images are resized: {', '.join(Resampling)}.",
    ),
]
Mean = Annotated[
    tuple[float, float, float] | None,
    typer.Option(
        metavar="R G B", rich_help_panel=_IMAGES, help="Subtracted from values in [0, 1]."
    ),
]
Std = Annotated[
    tuple[float, float, float] | None,
    typer.Option(metavar="R G B", rich_help_panel=_IMAGES, help="Then divided by."),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        callback=_picture,
        help="Also draw how far the statistics are off: .png, .svg or .pdf.",
    ),
]
StateDict = Annotated[Path, output_file("Write the state_dict: .safetensors or .pt.")]
MemoryLimit = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="MB",
        help="Activations to hold, layerwise; the rest lies in a temporary file.",
    ),
]
LossFunction = Annotated[
    str | None,
    typer.Option(
        "--loss",
        metavar="FUNCTION",
        rich_help_panel=_SCORES,
        help="file.py:function of (output, batch), smaller where better. By default, where the "
        "data have classes, the cross entropy.",
    ),
]
MetricFunction = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="FUNCTION",
        rich_help_panel=_SCORES,
        help="Likewise, an error. By default, where the data have classes, the share of wrong "
        "ones.",
    ),
]


class MethodName(StrEnum):
    """How statistics are measured."""

    layerwise = "layerwise"
    aggregate = "aggregate"
    ema = "ema"


MethodOption = Annotated[
    MethodName,
    typer.Option(
        "--method",
        help="layerwise: each norm behind final ones, whatever the batches; aggregate: each norm "
        "by its batch, pooled; ema: a moving average, with the norms' momentum.",
    ),
]


class FailLevel(StrEnum):
    """The severity from which findings make a command fail."""

    error = "error"
    warning = "warning"
    info = "info"
    never = "never"


FailOn = Annotated[FailLevel, typer.Option("--fail-on", help="Exit with 1 from this severity on.")]
