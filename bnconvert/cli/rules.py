"""`bnconvert rules`: list every finding that there is."""

import json
from typing import Annotated

import typer


def command(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with all that `explain` says.")
    ] = False,
) -> None:
    """List the findings: id, severity, and what each says; `bnconvert explain ID` says more."""
    from dataclasses import asdict

    from bnconvert.diagnosis.catalogue import CATALOGUE
    from bnconvert.reporting.table import table

    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in CATALOGUE], indent=2, ensure_ascii=False))
        return
    rows = [(entry.id, ", ".join(entry.severities), entry.title) for entry in CATALOGUE]
    typer.echo(table(("id", "severity", "what it says"), rows))
