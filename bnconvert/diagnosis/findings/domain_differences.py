"""Findings about domains with statistics of their own: BN206, BN207."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnconvert.diagnosis.domains import are_separated, membership, rows_of
from bnconvert.diagnosis.norm_samples import NormSamples
from bnconvert.reporting.records import Finding

_SHARE = 0.1  # domains that differ by less of the variance fit into one set of statistics
_CHANCE = 8.0  # by so many times what arbitrary domains would have


@dataclass(frozen=True)
class DomainShare:
    """How much of the variance at a norm lies between domains.

    Attributes:
        path: the norm.
        share: of the variance, mean over the channels.
        chance: the share that domains of these sizes have on average if they mean nothing.
        farthest: the domain whose mean is farthest from that of all data.
        distance: how far, in sigma, root mean square over the channels.
    """

    path: str
    share: float
    chance: float
    farthest: str
    distance: float

    @property
    def is_high(self) -> bool:
        """Whether no single set of statistics fits the domains."""
        return self.share > max(_SHARE, _CHANCE * self.chance)


def domain_findings(
    norms: Sequence[NormSamples], labels: Mapping[int, tuple[str, ...]]
) -> Iterator[Finding]:
    """Yield the findings about the domains of the batches.

    Args:
        norms: the samples at each norm.
        labels: by the index of the batch, the domain of it, or of each of its samples.
    """
    names = tuple(dict.fromkeys(name for of_batch in labels.values() for name in of_batch))
    single = [norm for norm in norms if not norm.path.endswith("]")]  # not one with domains
    shares = [share for norm in single if (share := domain_share(norm, labels)) is not None]
    high = [share for share in shares if share.is_high]
    if not high:
        return
    worst = max(high, key=lambda share: share.share)
    paths = tuple(share.path for share in high)
    differ = f"{worst.share:.0%} of the variance at {worst.path} lies between domains"
    far = f"{worst.farthest!r} is off the mean of all by {worst.distance:.2g} sigma"
    code = f"model = bnc.convert(model, bnc.Separate(domains={names!r}))"
    if are_separated(labels):
        yield Finding(
            "BN207",
            "warning",
            paths,
            f"batches of one domain each: {differ} ({far}), which training does not see, since it "
            "normalizes each batch by itself, and eval does",
            "mix the domains in each batch, or give each its own statistics with Separate()",
            code,
        )
    else:
        yield Finding(
            "BN206",
            "warning",
            paths,
            f"domains are mixed: {differ} ({far}); one set of statistics fits none of them",
            "give each domain its own statistics with Separate()",
            code,
        )


def domain_share(norm: NormSamples, labels: Mapping[int, tuple[str, ...]]) -> DomainShare | None:
    """Return how much of the variance at a norm lies between domains; None where unknown.

    Args:
        norm: the samples.
        labels: by the index of the batch, the domain of it, or of each of its samples.
    """
    parts: list[Tensor] = []
    names: list[str] = []
    for index, means in norm.by_batch.items():
        rows = rows_of(labels.get(index, ()), len(means))
        if rows is not None:
            parts.append(means)
            names += rows
    if len(set(names)) < 2 or len(names) == len(set(names)):
        return None
    means = torch.cat(parts)
    domains, members = membership(names)
    sizes = members.sum(0)
    offsets = (members.T @ means) / sizes[:, None] - means.mean(0)
    between = (sizes[:, None] * offsets.square()).sum(0) / len(means)
    within = means.var(0, correction=0) - between
    chance = float(within.mean()) * (len(domains) - 1) / (len(means) - len(domains))
    distances = offsets.square().mean(1).sqrt()
    far = int(distances.argmax())
    share = float(between.mean())
    return DomainShare(norm.path, share, chance, domains[far], float(distances[far]))
