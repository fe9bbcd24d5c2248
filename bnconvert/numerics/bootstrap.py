"""Percentile bootstrap: how certain a weighted mean is, seeded and in float64."""

import torch
from torch import Tensor

#: The share of the bootstrap means that an interval holds.
LEVEL = 0.99
#: Fewer values say too little of how they scatter: resampling them pretends to know.
LEAST_VALUES = 8
_RESAMPLES, _SEED = 2000, 0
_MOST_VALUES = 1024  # neighbors of more are averaged first
_AT_ONCE = 1 << 20


def mean_interval(values: Tensor, weights: Tensor) -> tuple[float, float] | None:
    """Return the 99 % interval of a weighted mean, or None where the values do not tell.

    Values are drawn with replacement, each with its weight, as many as there are; the interval
    holds the middle 99 % of 2000 such means (Efron, "Bootstrap methods: another look at the
    jackknife", 1979). The same values give the same interval. Of more than 1024 values,
    consecutive ones are averaged to 1024, which leaves the variance of the mean as it is where
    they are independent.

    Args:
        values: shape (n,), for paired data the differences.
        weights: shape (n,), positive.

    Returns:
        The low and the high end; None for fewer than 8 values or one that is not finite.
    """
    values, weights = values.double(), weights.double()
    if len(values) < LEAST_VALUES or not torch.isfinite(values).all():
        return None
    if len(values) > _MOST_VALUES:
        values, weights = _averaged(values, weights)
    generator = torch.Generator().manual_seed(_SEED)
    count, means = len(values), []
    rows = max(1, _AT_ONCE // count)
    for first in range(0, _RESAMPLES, rows):
        size = min(rows, _RESAMPLES - first), count
        drawn = torch.randint(count, size, generator=generator, device="cpu")
        means.append((values * weights)[drawn].sum(1) / weights[drawn].sum(1))
    tail = (1 - LEVEL) / 2
    low, high = torch.cat(means).quantile(
        torch.tensor([tail, 1 - tail], dtype=torch.float64, device="cpu")
    )
    return float(low), float(high)


def _averaged(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted means of consecutive values, and the sums of their weights."""
    group = torch.arange(len(values), device="cpu") * _MOST_VALUES // len(values)
    total = torch.zeros(_MOST_VALUES, dtype=torch.float64, device="cpu")
    sums = total.index_add(0, group, values * weights)
    total = total.index_add(0, group, weights)
    return sums / total, total
