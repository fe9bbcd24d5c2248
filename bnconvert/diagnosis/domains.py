"""The domains of the batches that are diagnosed: one name for a batch, or one for each sample."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bnconvert.diagnosis.norm_samples import NormSamples
from bnconvert.errors import StatisticsError
from bnconvert.statistics.batches import Batch

#: domains(batch) returns a name or the names of the samples; or a sequence has that of each batch.
Domains = Callable[[Any], Any] | Sequence[Any]


def labels_of(domains: Domains | None, batches: Sequence[Batch]) -> dict[int, tuple[str, ...]]:
    """Return the domains by the index of the batch: one for all of it, or one for each sample.

    Args:
        domains: a function or a sequence; None for nothing.
        batches: the batches.

    Raises:
        StatisticsError: there are not as many as batches, or as samples.
    """
    if domains is None:
        return {}
    if not callable(domains):
        last = max(batch.index for batch in batches)
        if not isinstance(domains, Sequence) or isinstance(domains, str):
            raise StatisticsError(
                f"domains is a {type(domains).__name__}; give a list with an entry for each batch, "
                "or a function of the batch"
            )
        if len(domains) <= last:
            raise StatisticsError(
                f"domains has {len(domains)} entries for {last + 1} batches; give one for each, or "
                "a function of the batch"
            )
        return {batch.index: _labels(domains[batch.index], batch) for batch in batches}
    return {batch.index: _labels(domains(batch.value), batch) for batch in batches}


def rows_of(labels: tuple[str, ...], rows: int) -> tuple[str, ...] | None:
    """Return the domain of each row that arrived at a norm; None where that is not known.

    Args:
        labels: of the batch: one, or one for each sample.
        rows: how many rows arrived, which are not its samples everywhere.
    """
    if len(labels) == 1:
        return labels * rows
    return labels if len(labels) == rows else None


def within_domains(norm: NormSamples, labels: Mapping[int, tuple[str, ...]]) -> NormSamples:
    """Return the samples of a norm around the mean of their domain, where all domains are known.

    Args:
        norm: the samples.
        labels: by the index of the batch, the domain of it, or of each of its samples.
    """
    rows = [rows_of(labels.get(index, ()), len(x)) for index, x in norm.by_batch.items()]
    names = [name for found in rows if found for name in found]
    means = norm.means
    if len(names) < len(means) or not names:
        return norm
    _, members = membership(names)
    of_domains = (members.T @ means) / members.sum(0)[:, None]
    sizes = [len(x) for x in norm.by_batch.values()]
    parts = torch.split(means - members @ of_domains, sizes)
    return replace(norm, by_batch=dict(zip(norm.by_batch, parts, strict=True)))


def membership(names: Sequence[str]) -> tuple[list[str], Tensor]:
    """Return the domains in order, and which of them each sample is in: shape (N, domains), 0 or 1.

    Args:
        names: the domain of each sample.
    """
    domains = sorted(set(names))
    places = torch.tensor([domains.index(name) for name in names], device="cpu")
    return domains, torch.nn.functional.one_hot(places).double()


def are_separated(labels: Mapping[int, tuple[str, ...]]) -> bool:
    """Tell whether every batch is of one domain."""
    return all(len(set(names)) == 1 for names in labels.values())


def _labels(given: Any, batch: Batch) -> tuple[str, ...]:
    """Return the names that were given for a batch, as text."""
    if isinstance(given, Tensor):
        given = given.tolist()
    if isinstance(given, str) or not isinstance(given, Collection):
        return (str(given),)
    names = tuple(str(name) for name in given)
    samples = batch.samples()
    if len(names) not in (1, samples or len(names)) or not names:
        raise StatisticsError(
            f"domains of batch {batch.index}: {len(names)} names for {samples} samples; give one "
            "name for the batch, or one for each sample"
        )
    return names
