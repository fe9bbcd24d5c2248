"""An estimate of a norm's statistics from batches: moments, and how certain they are."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from bnconvert.numerics.kernels import values_per_sample
from bnconvert.numerics.moments import Moments, moments
from bnconvert.numerics.slices import slice_moments, whole

#: How many samples are used to estimate which share of the variance lies between images.
_IMAGES = 32
#: A standard error of the mean, in standard deviations, that is small enough.
ENOUGH = 0.03


@dataclass(frozen=True, eq=False)
class Estimate:
    """The statistics of the values that one set of running statistics would normalize.

    Attributes:
        batches: how many batches had values.
        samples: how many samples these had.
        moments: of the values, per channel.
        images: of the means over the positions of single samples, of some of the samples.
    """

    batches: int
    samples: int
    moments: Moments
    images: Moments

    def merge(self, other: "Estimate") -> "Estimate":
        """Return the statistics of both sets of values together."""
        return Estimate(
            self.batches + other.batches,
            self.samples + other.samples,
            self.moments.merge(other.moments),
            self.images.merge(other.images),
        )

    @property
    def is_finite(self) -> bool:
        """Whether there was no NaN, no infinity, and no overflow of the variance."""
        return bool(torch.isfinite(self.moments.M2.sum() + self.moments.mean.sum()))

    @property
    def has_single_values(self) -> bool:
        """Whether every batch had one value per channel, which normalizes to zero."""
        return 0 < self.moments.count == self.batches

    def variance(self, of: str) -> Tensor:
        """Return the "population" variance, or the "unbiased" one."""
        if of == "population":
            return self.moments.biased_variance()
        return self.moments.unbiased_variance()

    def image_share(self) -> float | None:
        """Return rho, the share of the variance that lies between images.

        The values of one image are correlated, so that N images tell as much about the mean as
        N / rho independent values. It is the median over the channels; None where unknown.
        """
        if self.images.count < 2:
            return None
        total = self.moments.biased_variance()
        share = self.images.unbiased_variance()[total > 0] / total[total > 0]
        return min(float(share.median()), 1.0) if share.numel() else None

    def standard_error(self) -> float | None:
        """Return sqrt(rho / N): the error of the mean, in standard deviations."""
        rho = self.image_share()
        return None if rho is None or not self.samples else sqrt(rho / self.samples)

    def enough_samples(self) -> int | None:
        """Return how many samples give a standard error of `ENOUGH`."""
        rho = self.image_share()
        return None if rho is None else max(int(rho / ENOUGH**2 + 0.5), 2)


def measure(x: Tensor, seen: int) -> Estimate:
    """Estimate statistics from the values of one batch that are about to be normalized.

    Args:
        x: shape (N, C, ...), any floating dtype.
        seen: how many samples came before; only the first ones are measured image by image.
    """
    x = x.detach()
    mean, var = (row[0].double().cpu() for row in slice_moments(x, whole(x)))
    count = x.shape[0] * values_per_sample(x)
    if not count:
        return Estimate(0, 0, Moments(0, mean, var), _no_moments(mean))
    images = _image_moments(x[: _IMAGES - seen]) if seen < _IMAGES else _no_moments(mean)
    return Estimate(1, x.shape[0], Moments(count, mean, var * count), images)


def _image_moments(x: Tensor) -> Moments:
    own = moments(x.flatten(2).mean(2) if x.dim() > 2 else x)
    return Moments(own.count, own.mean.cpu(), own.M2.cpu())


def _no_moments(like: Tensor) -> Moments:
    zero = torch.zeros_like(like)
    return Moments(0, zero, zero)
