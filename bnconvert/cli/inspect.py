"""`bnconvert inspect`: the table of norms and the findings."""

from enum import StrEnum
from typing import Annotated

import typer

from bnconvert.cli.options import Input, Model, ReportPath, Weights

_RANK = ("info", "warning", "error")


class FailOn(StrEnum):
    """The severity from which findings make the command fail."""

    error = "error"
    warning = "warning"
    info = "info"
    never = "never"


def command(
    model: Model,
    weights: Weights = None,
    inputs: Input = None,
    report: ReportPath = None,
    fail_on: Annotated[
        FailOn, typer.Option("--fail-on", help="Exit with 1 from this severity on.")
    ] = FailOn.error,
) -> None:
    """List every norm of MODEL and what is wrong with it. With --input, also what folds."""
    from bnconvert.cli.loading import load
    from bnconvert.cli.output import progress, show
    from bnconvert.diagnosis import inspect

    with progress("loading the model") as say:
        loaded, example = load(model, weights, inputs)
        say("looking")
        result = inspect(loaded, example if inputs else None)
    show(result, report)
    if fail_on is not FailOn.never:
        failing = _RANK[_RANK.index(fail_on) :]
        if any(finding.severity in failing for finding in result.findings):
            raise typer.Exit(1)
