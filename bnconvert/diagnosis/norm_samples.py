"""What arrives at each norm in training: the means of single samples, and how large the values are.

How samples relate to each other (by domain, by neighbors in a batch, batch by batch) is in the
means of single samples over their positions, of some channels: a few numbers for each sample.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor, nn

from bnconvert.numerics.kernels import values_per_sample
from bnconvert.statistics.interception import Interception, Watch
from bnconvert.statistics.targets import StatisticsTarget, Targets
from bnconvert.statistics.unmeasured import UnmeasuredUses

#: How many channels of a norm are looked at, evenly spaced.
_CHANNELS = 64


@dataclass(frozen=True, eq=False)
class NormSamples:
    """The samples that arrived at one norm, all upstream norms normalizing by their batches.

    Attributes:
        path: the norm.
        by_batch: by the index of the batch: the means of its samples over their positions, shape
            (N, c), float64, in units of sigma.
        peak: the largest |x|, of all channels.
        dtype: of the values.
        single: the indices of batches of which one value per channel arrived.
    """

    path: str
    by_batch: Mapping[int, Tensor]
    peak: float
    dtype: torch.dtype
    single: tuple[int, ...]

    @property
    def means(self) -> Tensor:
        """The means of all samples in order, shape (N, c)."""
        return torch.cat(list(self.by_batch.values()))


class ArrivalWatch:
    """Takes the values that arrive at the norms, one forward after another.

    Attributes:
        broken: by the index of a batch: the norm at which a NaN or infinity arrived first, and
            the dtype of the values.
    """

    def __init__(self, targets: Targets) -> None:
        """Prepare to watch the norms of these targets."""
        self.broken: dict[int, tuple[str, torch.dtype]] = {}
        self._targets = targets
        self._watch = Watch(targets.measured, UnmeasuredUses())
        self._means: dict[int, dict[int, Tensor]] = {}
        self._peaks: dict[int, float] = {}
        self._dtypes: dict[int, torch.dtype] = {}
        self._single: dict[int, list[int]] = {}

    def watching(self, replica: nn.Module, batch: int) -> AbstractContextManager[object]:
        """Return a context for one forward of a replica, on the batch with this index."""
        return Interception(self._watch, replica, lambda target, x: self._arrive(batch, target, x))

    def samples(self) -> tuple[NormSamples, ...]:
        """Return what arrived at each norm, in the order in which they were reached.

        The targets must hold the statistics of these values, which are the unit of the means.
        """
        return tuple(
            NormSamples(
                target.path,
                {i: _standardized(means, target) for i, means in self._means[index].items()},
                self._peaks[index],
                self._dtypes[index],
                tuple(self._single.get(index, ())),
            )
            for index in self._means
            for target in (self._targets.measured[index],)
        )

    def _arrive(self, batch: int, target: StatisticsTarget, x: Tensor) -> None:
        """Note the values of a batch; of several calls in a forward, the means of the first."""
        x = x.detach()
        if not x.numel():
            return
        low, high = (float(end) for end in torch.aminmax(x))
        if not (isfinite(low) and isfinite(high)):
            self.broken.setdefault(batch, (target.path, x.dtype))
            return
        index = target.index
        self._peaks[index] = max(self._peaks.get(index, 0.0), -low, high)
        self._dtypes[index] = x.dtype
        by_batch = self._means.setdefault(index, {})
        if batch in by_batch:
            return
        by_batch[batch] = _sample_means(x)
        if x.shape[0] * values_per_sample(x) == 1:
            self._single.setdefault(index, []).append(batch)


def _sample_means(x: Tensor) -> Tensor:
    """Return the mean of each sample over its positions, of some channels, shape (N, c)."""
    some = x[:, :: _step(x.shape[1])].float()
    means = some.flatten(2).mean(2) if x.dim() > 2 else some
    return means.double().cpu()


def _standardized(means: Tensor, target: StatisticsTarget) -> Tensor:
    """Return means in units of the target's sigma, sqrt(var + eps), around its mean."""
    step = _step(len(target.mean))
    center, var = (b.detach()[::step].double().cpu() for b in (target.mean, target.var))
    return (means - center) / (var + target.eps).sqrt()


def _step(channels: int) -> int:
    return -(-channels // _CHANNELS)
