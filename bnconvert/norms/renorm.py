"""Renorm: in training, batch norm corrected towards the running statistics.

x_hat = (x - mu_B) / sigma_B * r + d with r = stop_gradient(clip(sigma_B / sigma, 1 / r_max, r_max))
and d = stop_gradient(clip((mu_B - mu) / sigma, -d_max, d_max)); sigma = sqrt(var + eps) of the
running statistics before this step's update (Ioffe, "Batch Renormalization", 2017, algorithm 1).
The running statistics keep the variance, as batch norm's do, not the paper's sigma: eval is batch
norm, folds and exports. With (r_max, d_max) = (1, 0) training is batch norm too.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bnconvert.errors import Refusal
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.replacement import Replacement, needs_running_statistics
from bnconvert.modules.site import Site
from bnconvert.modules.tracking import unbiased
from bnconvert.norms.recorded_norm import RecordedNorm
from bnconvert.numerics.batch_norm import batch_norm_by
from bnconvert.numerics.kernels import values_per_sample
from bnconvert.numerics.slices import slice_moments, whole
from bnconvert.torch_private.recomputation import is_recomputation


class RenormNorm(RecordedNorm):
    """Batch renormalization in training.

    Its counter of training steps, for the warm-up, is saved as `bnconvert.steps`.

    Attributes:
        r_max: the limit of the correction of the scale.
        d_max: the limit of the correction of the shift.
        warmup_steps: over so many training steps the limits go from (1, 0) to (r_max, d_max).
    """

    added_names: ClassVar[tuple[str, ...]] = ("r_max", "d_max", "warmup_steps")

    r_max: float
    d_max: float
    warmup_steps: int

    def init_state(self) -> None:
        """Create the counter of training steps."""
        super().init_state()
        assert self.running_mean is not None
        steps = torch.zeros((), dtype=torch.long, device=self.running_mean.device)
        self.extras().register_buffer("steps", steps)

    def normalize_by_batch(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Normalize by the batch's moments, then correct by r and d."""
        if not x.numel():
            return self.normalize_by_whole_batch(x, weight, bias)
        self.require_several_values(x)
        mean, var = slice_moments(x.detach(), whole(x))
        r, d = self._replayed() or self.correction(mean, var)
        if self.record is not None:
            self.record.append((r, d))
        r, d = (r, d) if weight is None else (r * weight, d * weight)
        y = batch_norm_by(x, r, d if bias is None else d + bias, (mean, var), self.eps, whole(x))
        self.track(mean[0], unbiased(var[0], x.shape[0] * values_per_sample(x)))
        if self.is_tracking():
            self.steps.add_(1)
        return y

    def _replayed(self) -> tuple[Tensor, ...] | None:
        """Return, in a recomputation, the r and d of its forward: the statistics changed since.

        Raises:
            RuntimeError: they are not known.
        """
        if self.replay is not None:
            return next(self.replay)
        if is_recomputation():
            raise RuntimeError(
                "a checkpointed batch renormalization is recomputed after its running statistics "
                "were updated, and its gradient would be another function's; use checkpoint(..., "
                "use_reentrant=False, context_fn=lambda: bnconvert.checkpoint_contexts(model))"
            )
        return None

    def correction(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """Return r and d, without gradient, for the batch's mean and biased variance."""
        assert self.running_mean is not None
        assert self.running_var is not None
        sigma = (self.running_var.to(var.dtype) + self.eps).sqrt()
        r_max, d_max = self.limits()
        r = ((var + self.eps).sqrt() / sigma).clamp(1 / r_max, r_max)
        d = ((mean - self.running_mean.to(mean.dtype)) / sigma).clamp(-d_max, d_max)
        return r.detach(), d.detach()

    def limits(self) -> tuple[Any, Any]:
        """Return the limits of r and d at this step: numbers, or tensors while they grow."""
        if not self.warmup_steps:
            return self.r_max, self.d_max
        grown = (self.steps / self.warmup_steps).clamp(max=1)
        return 1 + (self.r_max - 1) * grown, self.d_max * grown

    @property
    def steps(self) -> Tensor:
        """The counter of training steps."""
        steps = self.extras()._buffers["steps"]
        assert steps is not None
        return steps

    def extra_repr(self) -> str:
        """Return the limits and the hyperparameters."""
        limits = f"r_max={self.r_max}, d_max={self.d_max}, warmup_steps={self.warmup_steps}"
        return f"{limits}, {super().extra_repr()}"


@dataclass(frozen=True)
class Renorm(Replacement):
    """Correct the batch's statistics towards the running ones in training.

    Shape: (N, C, *) to the same. Source: Ioffe, "Batch Renormalization", 2017, algorithm 1.

    Args:
        r_max: the limit of the correction of the scale, at least 1; may be infinite.
        d_max: the limit of the correction of the shift, at least 0; may be infinite.
        warmup_steps: over so many training steps the limits go from (1, 0), plain batch norm,
            to (r_max, d_max). The paper: 5000 steps of batch norm, then to 3 by step 40000 and
            to 5 by step 25000.

    Raises:
        ValueError: `r_max` is less than 1, or another one less than 0; or a warm-up to infinity.

    Examples:
        >>> unlimited = bnc.Renorm(r_max=float("inf"), d_max=float("inf"))
        >>> norm = bnc.convert(nn.BatchNorm1d(1, eps=0.0, affine=False), unlimited)
        >>> norm(torch.tensor([[3.0], [5.0]])).flatten()  # as in eval: by mean 0 and variance 1
        tensor([3., 5.])
    """

    r_max: float = 3.0
    d_max: float = 5.0
    warmup_steps: int = 0

    preserves_eval: ClassVar[bool] = True
    norm: ClassVar[type[Normalization]] = RenormNorm

    def __post_init__(self) -> None:
        """Check the arguments."""
        if not (self.r_max >= 1 and self.d_max >= 0 and self.warmup_steps >= 0):
            raise ValueError(
                f"{self!r}: needs r_max of at least 1, and d_max and warmup_steps of at least 0; "
                "Renorm(1.0, 0.0) is batch norm"
            )
        if self.warmup_steps and math.isinf(self.r_max + self.d_max):
            raise ValueError(f"{self!r}: cannot warm up to an infinite limit; give finite limits")

    def why_not(self, site: Site) -> Refusal | None:
        """Refuse norms without running statistics: there is nothing to correct towards."""
        return needs_running_statistics(site, "to correct towards", "use Ghost() or Keep()")

    def attributes(self, site: Site) -> dict[str, Any]:
        """Return the limits and the warm-up."""
        return {"r_max": self.r_max, "d_max": self.d_max, "warmup_steps": self.warmup_steps}
