"""The user's own data as a further proof of an export: verify_inputs."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bnconvert.graphs.example import Example
from bnconvert.modules.placement import device_of
from bnconvert.reporting.progress import Steps
from bnconvert.reporting.report import Report
from bnconvert.statistics.batch_inputs import named_inputs, required_arguments
from bnconvert.statistics.batches import BatchReader
from bnconvert.statistics.loaders import undisturbed
from bnconvert.verification.compared_inputs import Claim
from bnconvert.verification.users_batches import prove_on


def proven_on_data(
    proof: Report,
    model: nn.Module,
    path: Path,
    batches: Iterable[Any] | None,
    claim: Claim,
    steps: Steps,
) -> tuple[Report, Example | None]:
    """Add the comparison on the user's batches to a proof that holds.

    Args:
        proof: what was compared so far; without batches, or where it fails, it stays as it is.
        model: what the file was made from.
        path: the file.
        batches: as for `recompute_statistics`: what the forward does not require is labels.
        claim: what is said about the file beforehand.
        steps: are told each batch.

    Returns:
        The proof, and the batch on which the file computes something else, if it does.

    Raises:
        ExportError: there is no batch, or the model or the file does not take one.
        StatisticsError: `batches` is no iterable of batches, or inputs and labels cannot be told
            apart.
    """
    if batches is None or proof.verdict != "agrees":
        return proof, None
    with undisturbed(batches):
        found = prove_on(model, path, _examples(model, batches, steps), claim)
    told = tuple(f"{name}: {said}" for name, said in found.facts.items() if "agreement" in name)
    proof = replace(
        proof,
        checks=(*proof.checks, *found.checks),
        facts={**proof.facts, **found.facts},
        notes=(*proof.notes, *told),
    )
    if found.failing is None:
        return proof, None
    title = proof.title.replace("agrees with", "DIFFERS from")
    return replace(proof, verdict="differs", title=title), found.failing


def _examples(model: nn.Module, batches: Iterable[Any], steps: Steps) -> Iterator[Example]:
    device = device_of(model)
    for batch in BatchReader(batches, None):
        steps.tell(f"verifying on your data: batch {batch.index + 1}")
        value = batch.value
        if isinstance(value, tuple | list):
            value = tuple(value[: required_arguments(model, value)])
        elif isinstance(value, Mapping):
            value = named_inputs(model, value)
        elif not isinstance(value, Tensor):
            value = (value,)
        example = Example.of(value)
        yield example if device is None else example.map(lambda tensor: tensor.to(device))
