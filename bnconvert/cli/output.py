"""What commands print: results on stdout, progress on stderr, reports into files."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from bnconvert.reporting.report import Report


@contextlib.contextmanager
def progress(first: str) -> Iterator[Callable[[str], None]]:
    """Show what is going on, on stderr, and only where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console

    # This very stream, since torch's exporters are silenced by redirecting sys.stderr.
    with Console(file=sys.stderr).status(first) as status:
        yield status.update


def show(report: "Report", path: Path | None) -> None:
    """Print a report, and write it to `path` if there is one: HTML by its suffix, else JSON."""
    typer.echo(str(report))
    save(report, path)


def save(report: "Report", path: Path | None) -> None:
    """Write a report to `path`, if there is one."""
    if path is None:
        return
    if path.suffix in (".html", ".htm"):
        report.to_html(path)
    else:
        report.to_json(path)
