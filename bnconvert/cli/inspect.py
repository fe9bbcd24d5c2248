"""`bnconvert inspect`: print a table of the norms, and the findings."""

from bnconvert.cli.options import FailLevel, FailOn, Input, Model, ReportPath, Weights
from bnconvert.reporting.progress import showing_progress


def command(
    model: Model,
    weights: Weights = None,
    inputs: Input = None,
    report: ReportPath = None,
    fail_on: FailOn = FailLevel.error,
) -> None:
    """List MODEL's norms and what is wrong with them; with --input, also whether each folds."""
    from bnconvert.cli.model_source import load_model
    from bnconvert.cli.output import exit_on, show
    from bnconvert.diagnosis.inspection import inspect

    with showing_progress(first="loading the model") as say:
        loaded, example = load_model(model, weights, inputs)
        say(0, None, "inspecting")
        result = inspect(loaded, example if inputs else None)
    show(result, report)
    exit_on(result, fail_on)
