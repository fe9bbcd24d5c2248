"""The command line: one file per command, which parses, calls and prints, and nothing else."""

from typing import Annotated

import typer

from bnconvert.cli import (
    convert,
    diagnose,
    explain,
    export,
    fold,
    inspect,
    prepare,
    recompute,
    rules,
    suggest,
    verify,
)
from bnconvert.cli.user_code import without_exits

app = typer.Typer(
    name="bnconvert",
    help=(
        "Gets BatchNorm right, before fine-tuning and before deployment.\n\n"
        "MODEL is path/to/file.py:factory or package.module:factory (returns a model, or a "
        "model and its example inputs), timm:NAME or torchvision:NAME.\n\n"
        "Exit codes: 0 fine; 1 findings at or above --fail-on; 2 usage, or a refused policy; "
        "3 numbers disagree; 4 could not load, trace or export; 5 cannot be judged."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_COMMANDS = (
    *(inspect, diagnose, explain, rules),
    *(suggest, convert, prepare, recompute, fold, export, verify),
)
for command in _COMMANDS:
    app.command(name=command.__name__.rpartition(".")[2])(without_exits(command.command))


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # slow to import

        typer.echo(f"bnconvert {version('bnconvert')}")
        raise typer.Exit


@app.callback()
def options(
    show: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Take the options that come before a command."""
