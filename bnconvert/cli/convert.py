"""`bnconvert convert`: print the plan of a policy, and write the converted weights."""

from pathlib import Path
from typing import Annotated

import typer

from bnconvert.cli.formats import save
from bnconvert.cli.options import Model, PolicyOption, Weights, output_file
from bnconvert.cli.report_options import ReportPath
from bnconvert.reporting.progress import showing_progress


def command(
    model: Model,
    policy: PolicyOption,
    weights: Weights = None,
    output: Annotated[
        Path | None, output_file("Write the converted state_dict: .safetensors or .pt.")
    ] = None,
    report: ReportPath = None,
) -> None:
    """Print what a policy does to MODEL's norms; with -o, convert it and write the weights."""
    from bnconvert.cli.model_source import load_model
    from bnconvert.cli.output import write_weights
    from bnconvert.conversion.conversion import convert, plan
    from bnconvert.conversion.policy import Policy

    rules = Policy.parse(policy)
    with showing_progress(first="loading the model"):
        loaded, _ = load_model(model, weights, None)
        planned = plan(loaded, rules)
    typer.echo(str(planned))
    save(planned.report, report, f"convert {model}")
    planned.require_legal()
    if output is not None:
        write_weights(
            convert(loaded, rules, inplace=True),
            {"bnconvert.policy": repr(rules)},
            output,
        )
        typer.echo(f"wrote {output}; load it into convert(model, {rules!r})")
