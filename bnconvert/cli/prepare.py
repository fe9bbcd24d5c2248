"""`bnconvert prepare`: convert a model for fine-tuning; print the plan, write the weights."""

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
        Path | None, output_file("Write the prepared state_dict: .safetensors or .pt.")
    ] = None,
    weight_decay: Annotated[
        float, typer.Option(help="Weight decay, except for biases and parameters of norms.")
    ] = 0.0,
    accumulate: Annotated[
        int,
        typer.Option(help="Micro-batches per optimizer step; norms' momentum is adapted."),
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print; write no weights, even with -o.")
    ] = False,
    report: ReportPath = None,
) -> None:
    """Convert MODEL for fine-tuning; print the plan and the optimizer's parameter groups."""
    from bnconvert.cli.output import write_weights
    from bnconvert.conversion.finetuning import prepare
    from bnconvert.conversion.policy import Policy
    from bnconvert.errors import PolicyError

    if output is None and not dry_run:
        raise PolicyError("nothing to do: give -o prepared.safetensors, or --dry-run")
    rules = Policy.parse(policy)
    try:
        with showing_progress(first="loading the model"):
            loaded, _ = chosen.load()
            prepared = prepare(loaded, rules, weight_decay=weight_decay, accumulate=accumulate)
    except ValueError as error:
        raise PolicyError(str(error)) from error
    typer.echo(str(prepared))
    save(prepared.report, report, f"prepare {chosen.source}")
    if not (output is None or dry_run):
        write_weights(prepared.model, {"bnconvert.policy": repr(rules)}, output)
        typer.echo(f"wrote {output}; load it into prepare(model, {rules!r}).model")
