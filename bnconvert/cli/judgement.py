"""The options of `verify` about how near a file must be to what it is compared with."""

from typing import Annotated

import typer

_PANEL = "How near it must be"

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
