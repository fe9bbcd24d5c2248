"""`bnconvert convert`: print the plan of a policy, and write the converted weights."""

from pathlib import Path
from typing import Annotated

import typer

from bnconvert.cli.models.model_options import ModelChoice, with_model_options
from bnconvert.cli.options import PolicyOption, output_file
from bnconvert.cli.reports.formats import save
from bnconvert.cli.reports.report_options import ReportPath
from bnconvert.reporting.progress import showing_progress


@with_model_options
def command(
    chosen: ModelChoice,
    policy: PolicyOption,
    output: Annotated[
        Path | None, output_file("Write the converted state_dict: .safetensors or .pt.")
    ] = None,
    report: ReportPath = None,
) -> None:
    """Print what a policy does to MODEL's norms; with -o, convert it and write the weights."""
    from bnconvert.cli.output import write_weights
    from bnconvert.conversion.conversion import convert, plan
    from bnconvert.conversion.policy import Policy
    from bnconvert.reporting.terminal import print_report

    rules = Policy.parse(policy)
    with showing_progress(first="loading the model"):
        loaded, _ = chosen.load()
        planned = plan(loaded, rules)
    print_report(planned.report)
    save(planned.report, report, f"convert {chosen.source}")
    planned.require_legal()
    if output is not None:
        write_weights(
            convert(loaded, rules, inplace=True),
            {"bnconvert.policy": repr(rules)},
            output,
        )
        typer.echo(f"wrote {output}; load it into convert(model, {rules!r})")
