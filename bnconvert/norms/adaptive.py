"""Adaptive: at test time, the running (source) statistics mixed with the test batch's.

With n samples in the batch, mu = (N * mu_s + n * mu_t) / (N + n), and the same of the variances,
the batch's being biased (Schneider et al., "Improving robustness against common corruptions by
covariate shift adaptation", 2020, section 3). N, the prior, says how many samples the source's
statistics are worth: infinite is plain batch norm, 0 is the batch alone. Training is plain batch
norm. Adaptation never changes the source statistics.

Over a stream each mixture is the next batch's prior: an exponential moving average over the test
data, kept as `bnconvert.mean` and `bnconvert.var` until it is reset, or the source's statistics are
trained or recomputed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from bnconvert.errors import Refusal
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.replacement import Replacement, needs_running_statistics
from bnconvert.modules.site import Site
from bnconvert.modules.tracking import TrackingNorm
from bnconvert.numerics.slices import slice_affine, slice_moments, whole


class AdaptiveNorm(TrackingNorm):
    """Batch norm whose eval mode adapts to the batch.

    Attributes:
        prior: how many samples the source statistics are worth.
        over: "batch" or "stream": whether each batch is adapted to anew, or all batches so far.
    """

    added_names: ClassVar[tuple[str, ...]] = ("prior", "over")

    prior: float
    over: Literal["batch", "stream"]

    @property
    def is_batch_norm_in_eval(self) -> bool:
        """Whether the prior is infinite, so that the test batch has no weight."""
        return math.isinf(self.prior)

    @property
    def mixes_samples_in_eval(self) -> bool:
        """Whether the test batch has any weight."""
        return not self.is_batch_norm_in_eval

    @property
    def remembers_in_eval(self) -> bool:
        """Whether it adapts to a stream of batches."""
        return self.over == "stream" and not self.is_batch_norm_in_eval

    def init_state(self) -> None:
        """Create the stream's statistics, equal to the source's."""
        super().init_state()
        if self.over == "stream":
            assert self.running_mean is not None
            assert self.running_var is not None
            self.extras().register_buffer("mean", self.running_mean.clone())
            self.extras().register_buffer("var", self.running_var.clone())

    def reset_running_stats(self) -> None:
        """Reset the source's statistics, from which a stream starts anew."""
        super().reset_running_stats()
        self.reset()

    def reset(self) -> None:
        """Reset the stream's statistics to the source's, bit for bit."""
        if self.over == "stream":
            assert self.running_mean is not None
            assert self.running_var is not None
            mean, var = self._prior_statistics()
            mean.copy_(self.running_mean)
            var.copy_(self.running_var)

    def track(self, mean: Tensor, var: Tensor, has_values: Tensor | None = None) -> None:
        """Update the source's statistics in training; a stream starts anew from them."""
        super().track(mean, var, has_values)
        if self.over == "stream" and self.is_tracking():
            self.require_writable(self.extras()._buffers, mean)
            with torch.no_grad():
                self.reset()

    def extras_for_plain_checkpoint(self, checkpoint: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return a checkpoint's running statistics as the start of the stream."""
        kept = self.extras().state_dict()
        return {name: checkpoint.get(f"running_{name}", kept[name]) for name in kept}

    def normalize_by_running(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Normalize by the mixture, or by the running statistics alone where a switch says so."""
        if self.statistics == "running" or math.isinf(self.prior) or not x.numel():
            return super().normalize_by_running(x, weight, bias)
        batch = slice_moments(x, whole(x))
        share = x.shape[0] / (self.prior + x.shape[0])
        before = self._prior_statistics()
        mean, var = (
            (1 - share) * old.to(new.dtype) + share * new[0]
            for old, new in zip(before, batch, strict=True)
        )
        if self.over == "stream":
            self._write_stream_statistics(mean.detach(), var.detach())
        scale = (var + self.eps).rsqrt()
        scale = scale if weight is None else scale * weight
        shift = None if bias is None else bias.unsqueeze(0)
        return slice_affine(x, mean.unsqueeze(0), scale.unsqueeze(0), shift, whole(x))

    def _prior_statistics(self) -> tuple[Tensor, Tensor]:
        """Return the mean and variance that the test batch is mixed with."""
        assert self.running_mean is not None
        assert self.running_var is not None
        if self.over == "batch":
            return self.running_mean.clone(), self.running_var.clone()
        return self.extras().get_buffer("mean"), self.extras().get_buffer("var")

    def _write_stream_statistics(self, mean: Tensor, var: Tensor) -> None:
        """Write a mixture into the stream's statistics, unless it has a NaN or an infinity."""
        if not self.updates:
            return
        self.require_writable(self.extras()._buffers, mean)
        finite = torch.isfinite(mean).all() & torch.isfinite(var).all()
        with torch.no_grad():
            if self.skipped is not None:
                self.skipped.add_(~finite)
            for kept, new in zip(self._prior_statistics(), (mean, var), strict=True):
                kept.copy_(torch.where(finite, new.to(kept.dtype), kept))

    def extra_repr(self) -> str:
        """Return the prior and the hyperparameters."""
        return f"prior={self.prior}, over={self.over!r}, {super().extra_repr()}"


@dataclass(frozen=True)
class Adaptive(Replacement):
    """Mix the running statistics with the test batch's in eval mode. Changes the function.

    Shape: (N, C, *) to the same. Source: Schneider et al., "Improving robustness against common
    corruptions by covariate shift adaptation", 2020, section 3.

    Args:
        prior: how many samples the running statistics are worth; `float("inf")` uses only
            them, 0 only the batch.
        over: "batch" adapts to each batch anew, "stream" remembers: each mixture is the prior
            of the next batch, until `reset_stream(model)`.

    Raises:
        ValueError: `prior` is negative, or `over` another string.

    Examples:
        >>> plain = nn.BatchNorm1d(1, eps=0.0, affine=False)
        >>> norm = bnc.convert(plain, bnc.Adaptive(prior=2)).eval()
        >>> norm(torch.tensor([[3.0], [5.0]])).flatten()  # mean (2 * 0 + 2 * 4) / 4, variance 1
        tensor([1., 3.])
    """

    prior: float = 16
    over: Literal["batch", "stream"] = "batch"

    preserves_eval: ClassVar[bool] = False
    norm: ClassVar[type[Normalization]] = AdaptiveNorm

    def __post_init__(self) -> None:
        """Check the arguments."""
        if not self.prior >= 0:
            raise ValueError(f"Adaptive: prior is {self.prior}; use a number of samples, 0 or more")
        if self.over not in ("batch", "stream"):
            raise ValueError(f'Adaptive: over is {self.over!r}; use over="batch" or over="stream"')

    def why_not(self, site: Site) -> Refusal | None:
        """Refuse norms without running statistics: there is no source."""
        remedy = "it uses the batch's already: use Keep()"
        return needs_running_statistics(site, "to adapt from", remedy)

    def attributes(self, site: Site) -> dict[str, Any]:
        """Return the prior."""
        return {"prior": self.prior, "over": self.over}

    def caution(self, site: Site) -> str | None:
        """Say that eval depends on the batch."""
        if math.isinf(self.prior):
            return None
        return "in eval mode the output depends on the test batch, as adaptation does"
