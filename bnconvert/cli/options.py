"""The arguments and options that several commands share."""

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
