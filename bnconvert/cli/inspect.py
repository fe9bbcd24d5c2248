"""`bnconvert inspect`: the table of norms and the findings."""

from bnconvert.cli.options import FailOn, Input, Model, ReportPath, Severity, Weights
from bnconvert.progress import shown


def command(
    model: Model,
    weights: Weights = None,
    inputs: Input = None,
    report: ReportPath = None,
    fail_on: FailOn = Severity.error,
) -> None:
    """List every norm of MODEL and what is wrong with it. With --input, also what folds."""
    from bnconvert.cli.loading import load
    from bnconvert.cli.output import exit_on, show
    from bnconvert.diagnosis import inspect

    with shown(first="loading the model") as say:
        loaded, example = load(model, weights, inputs)
        say(0, None, "looking")
        result = inspect(loaded, example if inputs else None)
    show(result, report)
    exit_on(result, fail_on)
