"""The options of every command that reports: which findings count, how they are shown and kept."""

import functools
import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bnconvert.cli.values import finding_ids, output_path

_PANEL = "Report"


class FailLevel(StrEnum):
    """The lowest severity of a finding that makes a command exit with 1."""

    error = "error"
    warning = "warning"
    info = "info"
    never = "never"


class FormatName(StrEnum):
    """How a report is printed."""

    text = "text"
    json = "json"
    markdown = "markdown"
    sarif = "sarif"
    github = "github"


Select = Annotated[
    list[str] | None,
    typer.Option(
        "--select",
        metavar="ID",
        callback=finding_ids,
        rich_help_panel=_PANEL,
        help="Only findings with these ids, or with ids that begin so: --select BN2,BN412. "
        "`bnconvert rules` lists them.",
    ),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore",
        metavar="ID",
        callback=finding_ids,
        rich_help_panel=_PANEL,
        help="No findings with these ids, or with ids that begin so; the longer of two that "
        "match wins.",
    ),
]
FailOn = Annotated[
    FailLevel | None,
    typer.Option(
        "--fail-on",
        rich_help_panel=_PANEL,
        help="Exit with 1 on findings of this severity or a higher one; error by default.",
    ),
]
BaselineFile = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        metavar="FILE",
        rich_help_panel=_PANEL,
        help="Only findings that are not in this file count.",
    ),
]
WriteBaseline = Annotated[
    bool,
    typer.Option(
        "--write-baseline",
        rich_help_panel=_PANEL,
        help="Write the findings of this run into the file of --baseline: they are known then.",
    ),
]
ReportPath = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        callback=output_path,
        rich_help_panel=_PANEL,
        help="Also write the report to this file, by its suffix: .html, .md, .txt, "
        ".sarif, else JSON.",
    ),
]
Format = Annotated[
    FormatName | None,
    typer.Option(
        "--format",
        rich_help_panel=_PANEL,
        help="How the report is printed: text (the default), json, markdown, sarif (for code "
        "scanners) or github (annotations of a workflow).",
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", rich_help_panel=_PANEL, help="Print every row, check and figure."
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", rich_help_panel=_PANEL, help="Print the verdict only.")
]
#: By the parameter of a command, its option and default.
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "select": (Select, None),
    "ignore": (Ignore, None),
    "fail_on": (FailOn, None),
    "baseline": (BaselineFile, None),
    "write_baseline": (WriteBaseline, False),
    "output_format": (Format, None),
    "report": (ReportPath, None),
    "verbose": (Verbose, False),
    "quiet": (Quiet, False),
}
#: The parameters of a command that have these options.
REPORT_PARAMETERS = tuple(_OPTIONS)


def with_report_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options too; `Presentation.of` finds them in the command's context."""
    return with_options(_OPTIONS, command)


def with_options(
    options: Mapping[str, tuple[Any, Any]], command: Callable[..., None]
) -> Callable[..., None]:
    """Give a command more options, which it does not get as arguments.

    Args:
        options: by the parameter in the command's context, the option and its default.
        command: the command.
    """
    own = inspect.signature(command)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option)
        for name, (option, default) in options.items()
    ]

    @functools.wraps(command)
    def without_them(**given: Any) -> None:
        command(**{name: value for name, value in given.items() if name not in options})

    taken: Any = without_them  # a function's type has no signature
    taken.__signature__ = own.replace(parameters=[*own.parameters.values(), *more])
    return without_them
