"""The options of `verify` about what runs a file, and how near it must be to the reference."""

from typing import Annotated

import typer

_PANEL = "How the file is judged"
ONNX_RUNTIME = "onnxruntime"  # what runs a file where nobody asks for another runtime

Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        min=0,
        metavar="ERROR",
        rich_help_panel=_PANEL,
        help="Allow this relative root mean square error of every output, as 0.05, instead of four "
        "times the model's own in the precision of the file.",
    ),
]
RuntimeName = Annotated[
    str,
    typer.Option(
        "--runtime",
        metavar="NAME",
        rich_help_panel=_PANEL,
        help="What runs FILE: onnxruntime, or openvino where that is installed.",
    ),
]
Providers = Annotated[
    str | None,
    typer.Option(
        "--providers",
        metavar="NAMES",
        rich_help_panel=_PANEL,
        help="ONNX Runtime's execution providers, separated by commas, the preferred one first: "
        "CUDAExecutionProvider,CPUExecutionProvider.",
    ),
]
Agreement = Annotated[
    float | None,
    typer.Option(
        "--agreement",
        min=0,
        max=1,
        metavar="SHARE",
        rich_help_panel=_PANEL,
        help="The share of the given rows whose best class must be the same, as 0.99; for outputs "
        "of shape (N, classes).",
    ),
]
