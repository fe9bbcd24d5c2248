"""`bnconvert suggest`: print a policy for a model and its training, with the reasons."""

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from bnconvert.cli.models.model_options import ModelChoice, with_model_options
from bnconvert.reporting.progress import showing_progress

if TYPE_CHECKING:
    from bnconvert.conversion.policy import Policy


class TaskName(StrEnum):
    """The tasks whose batches are no independent samples."""

    detection = "detection"
    video = "video"
    reinforcement_learning = "reinforcement-learning"
    gan = "gan"


Task = Annotated[
    TaskName | None,
    typer.Option(help="Leave out where samples are independent and drawn at random."),
]
DomainNames = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A source of data. Give it once per source."),
]


@with_model_options
def command(
    chosen: ModelChoice,
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Samples per device in one forward.")
    ],
    world_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Processes that train together.")
    ] = 1,
    task: Task = None,
    domain: DomainNames = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="The model has no trained weights.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Suggest a policy for MODEL and the way in which it is trained, and say why."""
    from bnconvert.cli.output import command_line
    from bnconvert.conversion.suggestion import suggest
    from bnconvert.errors import PolicyError

    with showing_progress(first="loading the model"):
        loaded, _ = chosen.load()
        try:
            suggestion = suggest(
                loaded,
                batch_size=batch_size,
                world_size=world_size,
                task=None if task is None else task.value,
                domains=domain or 1,
                pretrained=not from_scratch,
            )
        except ValueError as error:
            raise PolicyError(str(error)) from error
    if as_json:
        typer.echo(json.dumps(suggestion.to_dict(), indent=2))
        return
    shown = command_line(
        "convert", chosen.source, *chosen.words(), policy=_rules(suggestion.policy)
    )
    typer.echo(f"{suggestion}\nto see what each norm is converted to: {shown}")


def _rules(policy: "Policy") -> tuple[str, ...]:
    """Return the policy as values of --policy, in quotes that a shell does not need escaped."""
    from bnconvert.modules.rewrite import Alternatives

    rules = ((rule.pattern, repr(Alternatives(rule.choices))) for rule in policy.rules)
    texts = (text if policy.is_bare else f"{pattern}={text}" for pattern, text in rules)
    return tuple(text if '"' in text else text.replace("'", '"') for text in texts)
