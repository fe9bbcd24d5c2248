"""`bnconvert explain`: print what a finding means."""

from typing import Annotated

import typer


def command(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids of findings, such as BN203.")],
) -> None:
    """Print what findings mean: rule, reason, fix, source and an example."""
    from bnconvert.diagnosis.catalogue import explain
    from bnconvert.errors import ReportError, UsageError

    try:
        explanations = [explain(id) for id in ids]
    except ReportError as failure:
        raise UsageError(str(failure)) from None
    typer.echo("\n\n".join(map(str, explanations)))
