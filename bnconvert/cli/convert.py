"""`bnconvert convert`: the plan of a policy, and the converted weights."""

from pathlib import Path
from typing import Annotated

import typer

from bnconvert.cli.options import Model, ReportPath, Weights


def command(
    model: Model,
    policy: Annotated[
        list[str],
        typer.Option(
            "--policy",
            help="REWRITE for every norm, or PATTERN=REWRITE; once per rule, the first match "
            "wins: --policy 'backbone.*=Frozen()' --policy 'head.*=Group(32) | Keep()'.",
        ),
    ],
    weights: Weights = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write the converted state_dict: .safetensors or .pt."),
    ] = None,
    report: ReportPath = None,
) -> None:
    """Print what a policy does to MODEL's norms; with -o, do it and write the weights."""
    from bnconvert.cli.loading import load
    from bnconvert.cli.output import progress, save
    from bnconvert.conversion import convert, plan
    from bnconvert.policy import Policy

    rules = Policy.parse(policy)
    with progress("loading the model"):
        loaded, _ = load(model, weights, None)
        planned = plan(loaded, rules)
    typer.echo(str(planned))
    save(planned.report(), report)
    planned.require_legal()
    if output is not None:
        _write(convert(loaded, rules, inplace=True), rules, output)
        typer.echo(f"wrote {output}; load it into convert(model, {rules!r})")


def _write(model: object, policy: object, path: Path) -> None:
    from importlib.metadata import version

    import torch
    from torch import nn

    assert isinstance(model, nn.Module)
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        # Clones: safetensors refuses tensors that share memory, and tied weights do.
        state = {key: value.detach().clone() for key, value in model.state_dict().items()}
        labels = {"bnconvert.policy": repr(policy), "bnconvert.version": version("bnconvert")}
        save_file(state, path, metadata=labels)
    else:
        torch.save(model.state_dict(), path)
