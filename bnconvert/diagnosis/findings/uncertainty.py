"""Findings about how certain statistics of the given data are: BN212."""

from collections.abc import Iterator, Sequence

import torch

from bnconvert.diagnosis.norm_samples import NormSamples
from bnconvert.reporting.records import Finding
from bnconvert.reporting.verdict import STALE
from bnconvert.statistics.estimate import ENOUGH

_UNCERTAIN = STALE[0]  # sigma: so much makes sound statistics look stale


def uncertainty_findings(norms: Sequence[NormSamples]) -> Iterator[Finding]:
    """Yield the finding on norms whose statistics two halves of the data do not agree about.

    Args:
        norms: the samples at each norm.
    """
    errors = {norm.path: half_difference(norm) / 2 for norm in norms if len(norm.means) > 1}
    uncertain = {path: error for path, error in errors.items() if error > _UNCERTAIN}
    if not uncertain:
        return
    path, error = max(uncertain.items(), key=lambda pair: pair[1])
    samples = next(len(norm.means) for norm in norms if norm.path == path)
    enough = int(samples * (error / ENOUGH) ** 2)
    yield Finding(
        "BN212",
        "info",
        tuple(uncertain),
        f"two halves of the data disagree: at {path} their means differ by {2 * error:.2g} sigma, "
        f"so that statistics of all {samples} samples are uncertain by {error:.2g} sigma",
        f"give more data; about {enough} samples bring it to {ENOUGH} sigma",
    )


def half_difference(norm: NormSamples) -> float:
    """Return how far the mean of one half of the samples is from that of the other, in sigma.

    The halves are drawn, seeded. It is the root mean square over the channels; about
    2 sqrt(rho / N), with the share rho of the variance that lies between samples.
    """
    means = norm.means
    drawn = torch.randperm(len(means), generator=torch.Generator().manual_seed(0), device="cpu")
    difference = means[drawn[::2]].mean(0) - means[drawn[1::2]].mean(0)
    return float(difference.square().mean().sqrt())
