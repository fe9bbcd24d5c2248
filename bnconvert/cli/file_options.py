"""The options of `export` about the file that it writes: its opset, names and dynamic axes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnconvert.cli.dynamic_axes import dynamic_axes, dynamic_shapes
from bnconvert.cli.reports.report_options import with_options

if TYPE_CHECKING:
    from torch import nn

    from bnconvert.graphs.example import Inputs

_PANEL = "The file"

Dynamic = Annotated[
    list[str] | None,
    typer.Option(
        "--dynamic",
        metavar="AXES",
        callback=dynamic_axes,
        rich_help_panel=_PANEL,
        help="Axes that may have any size: batch,height,width (also depth and length), or "
        "INPUT:AXIS=NAME, as ids:1=tokens. Repeat for several inputs. By default the batch only. "
        "The file is compared in several sizes of each.",
    ),
]
Opset = Annotated[
    int | None,
    typer.Option(
        "--opset",
        min=7,
        metavar="N",
        rich_help_panel=_PANEL,
        help="The version of ONNX's own operators. By default what torch.onnx writes.",
    ),
]
InputNames = Annotated[
    str | None,
    typer.Option(
        "--input-names",
        metavar="NAMES",
        rich_help_panel=_PANEL,
        help="What the file's inputs are called, separated by commas. By default as the forward's "
        "parameters are.",
    ),
]
OutputNames = Annotated[
    str | None,
    typer.Option(
        "--output-names",
        metavar="NAMES",
        rich_help_panel=_PANEL,
        help="What the file's outputs are called, separated by commas. By default as the keys of "
        "the dict, or the fields of the dataclass, that the forward returns.",
    ),
]
Half = Annotated[
    bool,
    typer.Option(
        "--half",
        rich_help_panel=_PANEL,
        help="Write the file in float16. It may be as far off as the model would be in float16.",
    ),
]
#: By the parameter of a command, its option and default.
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "dynamic": (Dynamic, None),
    "opset": (Opset, None),
    "input_names": (InputNames, None),
    "output_names": (OutputNames, None),
    "half": (Half, False),
}


def with_file_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options too; `file_settings` finds them in the command's context."""
    return with_options(_OPTIONS, command)


def file_settings(context: typer.Context, model: "nn.Module", inputs: "Inputs") -> dict[str, Any]:
    """Return what the options say, as keyword arguments of `export`.

    Raises:
        UsageError: --dynamic names an axis that no input has.
    """
    import torch

    given = context.params
    names = {
        key: [name.strip() for name in given[key].split(",")]
        for key in ("input_names", "output_names")
        if given[key]
    }
    shapes = dynamic_shapes(model, inputs, given["dynamic"])
    dtype = torch.float16 if given["half"] else None
    return {"opset": given["opset"], "dynamic_shapes": shapes, "dtype": dtype, **names}
