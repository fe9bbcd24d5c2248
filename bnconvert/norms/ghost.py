"""Ghost: in training, groups of consecutive samples are normalized separately.

Each ghost batch of `size` samples has its own mean and variance (Hoffer, Hubara and Soudry,
"Train longer, generalize better", 2017, algorithm 1), so that a large batch is normalized as
small ones are. Eval is plain batch norm, at any batch size.

The running statistics get one update per step, by the average over the ghost batches, weighted
by their samples: of the means, and of the unbiased variances. (The variance that a ghost batch
normalizes by is what eval has to match; the spread between their means is not part of it.)
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bnconvert.errors import Refusal
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.replacement import Replacement
from bnconvert.modules.site import Site
from bnconvert.modules.tracking import TrackingNorm, unbiased
from bnconvert.numerics.batch_norm import slice_batch_norm
from bnconvert.numerics.kernels import Bounds, values_per_sample


class GhostNorm(TrackingNorm):
    """Batch norm by ghost batches in training.

    Attributes:
        size: samples per ghost batch.
    """

    added_names: ClassVar[tuple[str, ...]] = ("size",)

    size: int

    def normalize_by_batch(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Normalize each ghost batch by its own moments."""
        bounds = ghost_bounds(x.shape[0], self.size, values_per_sample(x))
        if len(bounds) == 1:
            return self.normalize_by_whole_batch(x, weight, bias)
        rows = [None if a is None else a.expand(len(bounds), -1) for a in (weight, bias)]
        y, mean, var = slice_batch_norm(x, rows[0], rows[1], self.eps, bounds)
        if self.is_tracking():
            self.track(*_average(mean, var, [end - first for first, end in bounds], x))
        return y

    def extra_repr(self) -> str:
        """Return the size and the hyperparameters."""
        return f"size={self.size}, {super().extra_repr()}"


def _average(mean: Tensor, var: Tensor, samples: list[int], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the groups' mean and unbiased variance, averaged by their samples."""
    values = values_per_sample(x)
    if len(set(samples)) == 1:
        return mean.mean(0), unbiased(var.mean(0), samples[0] * values)
    share = torch.tensor([[n / x.shape[0]] for n in samples], dtype=mean.dtype, device=x.device)
    lost = share.new_tensor([[n * values / (n * values - 1)] for n in samples])
    return (share * mean).sum(0), (share * lost * var).sum(0)


def ghost_bounds(samples: int, size: int, values: int) -> Bounds:
    """Divide a batch into consecutive ghost batches.

    A last group of less than half the size is merged with the one before, and so is one that
    would have a single value per channel; no group is refused.

    Args:
        samples: the batch size.
        size: samples per group.
        values: values per channel and sample.
    """
    size = max(size, 2) if values == 1 else size
    starts = list(range(0, samples, size)) or [0]
    last = samples - starts[-1]
    if len(starts) > 1 and (2 * last < size or last * values < 2):
        starts.pop()
    return tuple(zip(starts, (*starts[1:], samples), strict=True))


@dataclass(frozen=True)
class Ghost(Replacement):
    """Normalize groups of consecutive samples separately in training.

    Shape: (N, C, *) to the same, for any N. Source: Hoffer, Hubara and Soudry, "Train longer,
    generalize better", 2017, algorithm 1.

    Args:
        size: samples per group.

    Raises:
        ValueError: `size` is less than 1.

    Examples:
        >>> norm = bnc.convert(nn.BatchNorm1d(1, eps=0.0, affine=False), bnc.Ghost(size=2))
        >>> norm(torch.tensor([[0.0], [2.0], [10.0], [14.0]])).flatten()
        tensor([-1.,  1., -1.,  1.])
    """

    size: int = 32

    preserves_eval: ClassVar[bool] = True
    norm: ClassVar[type[Normalization]] = GhostNorm

    def __post_init__(self) -> None:
        """Check the argument."""
        if self.size < 1:
            raise ValueError(f"Ghost: size is {self.size}; use a positive number of samples")

    def why_not(self, site: Site) -> Refusal | None:
        """Return None: every norm can."""
        return None

    def attributes(self, site: Site) -> dict[str, Any]:
        """Return the size."""
        return {"size": self.size}
