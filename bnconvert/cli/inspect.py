"""`bnconvert inspect`: print what is wrong with the norms, and with -v all of them."""

import typer

from bnconvert.cli.models.model_options import ModelChoice, with_model_options
from bnconvert.cli.options import Input
from bnconvert.cli.reports.report_options import with_report_options
from bnconvert.reporting.progress import showing_progress


@with_report_options
@with_model_options
def command(
    context: typer.Context,
    chosen: ModelChoice,
    inputs: Input = None,
) -> None:
    """List MODEL's norms and what is wrong with them; with --input, also whether each folds."""
    from bnconvert.cli.reports.presentation import Presentation
    from bnconvert.diagnosis.inspection import inspect

    presentation = Presentation.of(context)
    with showing_progress(first="loading the model") as say:
        loaded, example = chosen.load(inputs)
        say(0, None, "inspecting")
        result = inspect(loaded, example if inputs else None)
    presentation.finish(presentation.show(result))
