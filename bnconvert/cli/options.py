"""The arguments and options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

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
        "--weights", help="A state_dict: .safetensors, or .pt that loads with weights_only=True."
    ),
]
PolicyRules = Annotated[
    list[str],
    typer.Option(
        "--policy",
        help="policy.toml, REWRITE for every norm, or PATTERN=REWRITE; once per rule, the first "
        "match wins: --policy 'backbone.*=Frozen()' --policy 'head.*=Group(32) | Keep()'.",
    ),
]
Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="An example input of random numbers, as 1,3,224,224 or x:1,3,224,224 or "
        "ids:1,16:int64; once per input.",
    ),
]
ReportPath = Annotated[
    Path | None, typer.Option("--report", help="Also write the report here, as JSON or .html.")
]
DataSource = Annotated[
    str,
    typer.Option(
        "--data",
        help="Real data: images:DIR, imagefolder:DIR (a folder per class), npz:FILE (arrays named "
        "as the forward's parameters), package.module:loader or file.py:loader (batches).",
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Samples per batch, of files and arrays.")]
Samples = Annotated[int | None, typer.Option(min=1, help="Stop after so many samples.")]
ImgSize = Annotated[
    int | None, typer.Option(min=1, help="Side of the images; timm's models know it, else 224.")
]
CropPct = Annotated[
    float | None, typer.Option(min=0.01, max=1, help="Part of the shorter side that is kept.")
]
Interpolation = Annotated[str | None, typer.Option(help="nearest, bilinear or bicubic.")]
Mean = Annotated[
    tuple[float, float, float] | None, typer.Option(help="Subtracted from values in [0, 1].")
]
Std = Annotated[tuple[float, float, float] | None, typer.Option(help="Then divided by.")]
Plot = Annotated[
    Path | None, typer.Option(help="Also draw how far the statistics are off: .png or .svg.")
]
StateDict = Annotated[
    Path, typer.Option("-o", "--output", help="Write the state_dict: .safetensors or .pt.")
]
MemoryLimit = Annotated[
    float | None,
    typer.Option(help="MB of activations to hold, layerwise; the rest lies in a temporary file."),
]
LossFunction = Annotated[
    str | None,
    typer.Option(
        "--loss",
        help="file.py:function of (output, batch), smaller where better; where the data have "
        "labels it is the cross entropy.",
    ),
]
MetricFunction = Annotated[
    str | None,
    typer.Option(
        "--metric", help="Likewise; where the data have labels it is the share of wrong classes."
    ),
]


class Way(StrEnum):
    """How statistics are measured."""

    layerwise = "layerwise"
    aggregate = "aggregate"
    ema = "ema"


Method = Annotated[
    Way, typer.Option("--method", help="layerwise does not depend on the division into batches.")
]


class Severity(StrEnum):
    """The severity from which findings make a command fail."""

    error = "error"
    warning = "warning"
    info = "info"
    never = "never"


FailOn = Annotated[Severity, typer.Option("--fail-on", help="Exit with 1 from this severity on.")]
