"""Command-line arguments and options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bnconvert.cli.values import model_or_program, model_source, output_path, plot_path, shape_texts


def output_file(text: str) -> Any:
    """Return the option --output, with its help text, for the file that a command writes."""
    return typer.Option("-o", "--output", metavar="FILE", callback=output_path, help=text)


_IMAGES, _SCORES = "How image files are read", "Scores"

#: What MODEL may be.
MODELS = (
    "file.py:factory, file.py:model, package.module:factory, timm:NAME (also "
    "timm:hf-hub:REPOSITORY and timm:local-dir:FOLDER), torchvision:NAME or "
    "torchvision:NAME@WEIGHTS"
)
Model = Annotated[str, typer.Argument(metavar="MODEL", callback=model_source, help=f"{MODELS}.")]
ModelOrProgram = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        callback=model_or_program,
        help=f"{MODELS}; or a program.pt2 of torch.export.save.",
    ),
]
PolicyOption = Annotated[
    list[str],
    typer.Option(
        "--policy",
        metavar="RULE",
        help="REWRITE for every norm, PATTERN=REWRITE for norms at matching paths, or a file "
        "policy.toml. Give it once per rule; the first rule that matches a norm wins: "
        "--policy 'backbone.*=Frozen()' --policy 'head.*=Group(32) | Keep()'.",
    ),
]
Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="SHAPE",
        callback=shape_texts,
        help="Shape of an example input, which is filled with random numbers: 1,3,224,224, with a "
        "name x:1,3,224,224, with a dtype ids:1,16:int64. Give it once per input. Or the archive "
        "m.failed.zip or m.unproven.zip that a verification left, whose inputs are taken.",
    ),
]
AllowNonfinite = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-nonfinite",
        metavar="OUTPUT",
        help="An output of the file in which NaN and infinity are meant. Repeat for several.",
    ),
]
DataSource = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="SOURCE",
        help="Real data: images:DIR, imagefolder:DIR (one folder per class, classes sorted by "
        "name), npz:FILE (arrays named like the forward's parameters; class labels named y or "
        "labels), package.module:loader or file.py:loader (an iterable of batches, or a function "
        "that returns one).",
    ),
]
BatchSize = Annotated[
    int,
    typer.Option(
        min=1, metavar="N", help="Samples per batch, for images and npz; a loader decides itself."
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Read batches until there are N samples. By default all are read.",
    ),
]
ImgSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        rich_help_panel=_IMAGES,
        help="Side of the square inputs, in pixels. The defaults of all options here are a timm "
        "model's own configuration, else 224, 0.875, bilinear, and ImageNet's mean and std.",
    ),
]
CropPct = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=1,
        metavar="FRACTION",
        rich_help_panel=_IMAGES,
        help="Fraction of the shorter side that the central crop keeps.",
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
        metavar="R G B", rich_help_panel=_IMAGES, help="Subtracted from the values in [0, 1]."
    ),
]
Std = Annotated[
    tuple[float, float, float] | None,
    typer.Option(metavar="R G B", rich_help_panel=_IMAGES, help="Divides what is left after that."),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        callback=plot_path,
        help="Also plot how far the running statistics are off: .png, .svg or .pdf.",
    ),
]
StateDict = Annotated[Path, output_file("Write the state_dict: .safetensors or .pt.")]
MemoryLimit = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="MB",
        help="Megabytes of activations that --method layerwise keeps in memory; the rest goes "
        "to a temporary file.",
    ),
]
LossFunction = Annotated[
    str | None,
    typer.Option(
        "--loss",
        metavar="FUNCTION",
        rich_help_panel=_SCORES,
        help="file.py:function that takes (output, batch) and returns a number, or one for "
        "each sample; smaller is better. By default the cross entropy, if the data have class "
        "labels.",
    ),
]
MetricFunction = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="FUNCTION",
        rich_help_panel=_SCORES,
        help="file.py:function that takes (output, batch) and returns an error, or one for "
        "each sample; smaller is better. By default the error rate of the classes, if the data "
        "have class labels.",
    ),
]


class MethodName(StrEnum):
    """The methods by which statistics are measured."""

    layerwise = "layerwise"
    aggregate = "aggregate"
    ema = "ema"


MethodOption = Annotated[
    MethodName,
    typer.Option(
        "--method",
        help="layerwise: each norm is measured while all upstream norms already use their final "
        "statistics, so that the batch size does not matter; aggregate: each norm normalizes by "
        "its own batch, and the moments of all batches are pooled; ema: a moving average with the "
        "norms' momentum, as in training.",
    ),
]
