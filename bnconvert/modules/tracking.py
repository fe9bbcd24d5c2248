"""Batch norm itself: training normalizes by the batch and tracks it, eval by running statistics.

Every norm that trains by some batch's statistics extends it and implements `normalize_by_batch`.
The modes, the switches, the update of the running statistics and the treatment of batches that
are not finite are here.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.modules.kinds import has_default_statistics
from bnconvert.modules.normalization import Normalization, Statistics
from bnconvert.modules.update_bn import refuse_update_bn
from bnconvert.numerics.kernels import values_per_sample
from bnconvert.numerics.slices import slice_moments, whole
from bnconvert.torch_private.function_transforms import is_transformed, level_of


class TrackingNorm(Normalization):
    """Batch norm in torch's semantics, with switches, and safe against non-finite batches.

    Attributes:
        updates: whether a training forward updates the running statistics; set by
            `switches.update_statistics`.
        statistics: which statistics normalize, whatever the mode says; set by
            `switches.use_statistics`.
        skipped: buffer, not saved: how many batches with a NaN or an infinity (an overflow of
            mixed precision) were kept out of the running statistics.
    """

    added_names: ClassVar[tuple[str, ...]] = ("updates", "statistics", "skipped", "awaits_state")

    awaits_state: bool = False  # made on the meta device, and nothing was loaded since
    updates: bool = True
    statistics: Statistics = None
    skipped: Tensor | None

    def init_state(self) -> None:
        """Create the counter of skipped batches."""
        mean = self.running_mean
        zero = None if mean is None else torch.zeros((), dtype=torch.long, device=mean.device)
        self.register_buffer("skipped", zero, persistent=False)
        self.awaits_state = mean is not None and mean.is_meta

    def prepare_loading(self, state: Mapping[str, Any], *, assigns: bool) -> None:
        """Begin what was made without numbers at 0: a plain checkpoint holds none of it."""
        given = next((value for value in state.values() if isinstance(value, Tensor)), None)
        if given is None or given.is_meta or not self.awaits_state:
            return
        for owner in (self, self.extras()):
            for name, buffer in owner.named_buffers(recurse=False):
                if name == "skipped" or owner is not self:
                    whole = torch.zeros_like(buffer, device=given.device)
                    owner._buffers[name] = whole if assigns else buffer.zero_()
        self.awaits_state = False
        for inner in self.extras().modules():  # of further domains, whose state is this one's
            if isinstance(inner, TrackingNorm):
                inner.prepare_loading(state, assigns=assigns)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy or a pickle: switches stay with the norm of their context."""
        return {n: v for n, v in vars(self).items() if n not in ("updates", "statistics")}

    def normalize(self, x: Tensor) -> Tensor:
        """Normalize `x` by the batch's statistics or by the running ones."""
        return self.normalize_with(x, self.weight, self.bias)

    def normalize_with(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Normalize `x` as mode and switches say, with a weight and bias that are passed in.

        A further domain's norm holds none where the domains share them.
        """
        if not self.uses_batch_statistics():
            return self.normalize_by_running(x, weight, bias)
        if not self.training:
            return self.normalize_by_whole_batch(x, weight, bias)
        return self.normalize_by_batch(x, weight, bias)

    def uses_batch_statistics(self) -> bool:
        """Tell whether the batch's statistics normalize in this forward."""
        if self.statistics is not None:
            return self.statistics == "batch"
        return self.training or self.running_mean is None

    def is_tracking(self) -> bool:
        """Tell whether this forward updates the running statistics."""
        tracks = self.track_running_stats and self.running_mean is not None
        return self.training and self.updates and tracks and self.uses_batch_statistics()

    def normalize_by_running(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Normalize `x` by the running statistics."""
        mean, var = self.running_mean, self.running_var
        traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if torch.is_grad_enabled() and not traced and mean is not None and var is not None:
            # A training forward before the backward pass updates the buffers in place, and
            # torch does not notice: the gradient would silently be another function's.
            mean, var = mean.clone(), var.clone()
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, self.eps)

    def normalize_by_batch(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Normalize `x` in training: here by the whole batch; subclasses override it."""
        return self.normalize_by_whole_batch(x, weight, bias)

    def normalize_by_whole_batch(
        self, x: Tensor, weight: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        """Normalize `x` by its own moments, as batch norm does, and track them in training."""
        if self.running_mean is None or self.running_var is None or not x.numel():
            return F.batch_norm(x, None, None, weight, bias, True, 0.0, self.eps)
        if is_transformed(x):  # vmap refuses new buffers
            moments = slice_moments(x.detach(), whole(x))
            self.track(moments[0][0], unbiased(moments[1][0], x.shape[0] * values_per_sample(x)))
            return F.batch_norm(x, None, None, weight, bias, True, 0.0, self.eps)
        # Also where nothing is tracked: a checkpointed forward and its recomputation must save
        # the same tensors, and only one of them may track.
        mean, var = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        y = F.batch_norm(x, mean, var, weight, bias, True, 1.0, self.eps)
        self.track(mean, var)
        return y

    def track(self, mean: Tensor, var: Tensor, has_values: Tensor | None = None) -> None:
        """Update the running statistics in place by a batch's, if this forward is to.

        running = (1 - momentum) * running + momentum * batch; with momentum None the average of
        all batches. A batch with a NaN or an infinity is counted and changes nothing else.

        Args:
            mean: the batch's mean, shape (C,).
            var: the batch's unbiased variance, shape (C,).
            has_values: False where the batch was empty, and nothing is to be tracked.
        """
        if not self.is_tracking():
            return
        self.require_writable(self._buffers, mean)
        refuse_update_bn()
        assert self.running_mean is not None
        assert self.running_var is not None
        with torch.no_grad():
            finite = torch.stack((mean, var)).isfinite().all()
            tracked = finite if has_values is None else finite & has_values
            if self.skipped is not None:
                self.skipped.add_(~finite if has_values is None else has_values & ~finite)
            share: float | Tensor = self.momentum if self.momentum is not None else 0.0
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(tracked)
                if self.momentum is None:
                    share = 1 / self.num_batches_tracked.clamp(min=1).to(self.running_mean.dtype)
            for running, batch in ((self.running_mean, mean), (self.running_var, var)):
                new = torch.where(tracked, batch.to(running.dtype), running)
                running.copy_(torch.lerp(running, new, share))

    def require_writable(self, buffers: Mapping[str, Tensor | None], update: Tensor) -> None:
        """Refuse to update buffers that a transform of `torch.func` does not know of.

        Args:
            buffers: by name, those that are updated in place.
            update: the new value of one.

        Raises:
            RuntimeError: `update` has one value per sample or model, and a buffer only one.
        """
        if not is_transformed(update):
            return
        held = {name: buffer for name, buffer in buffers.items() if buffer is not None}
        unknown = [name for name, b in held.items() if level_of(b) < level_of(update)]
        if unknown:
            raise RuntimeError(
                f"torch.func transforms a forward that updates {', '.join(unknown)}, which are "
                "none of the arguments of what is transformed; pass them with the parameters, as "
                "functional_call(model, (parameters, buffers), inputs) with "
                "dict(model.named_buffers()), or use bnconvert.update_statistics(model, False)"
            )

    def start_recording(self) -> dict[str, Any]:
        """Return, by attribute, the state that a recomputation of the coming forward needs."""
        return {}

    def stop_recording(self) -> None:
        """End what `start_recording` began."""

    @contextmanager
    def replaying(self, recorded: Mapping[str, Any]) -> Iterator[None]:
        """Set, inside the context, the attributes that `start_recording` returned."""
        before = {name: getattr(self, name) for name in recorded}
        try:
            for name, value in recorded.items():
                setattr(self, name, value)
            yield
        finally:
            for name, value in before.items():
                setattr(self, name, value)

    def require_several_values(self, x: Tensor) -> None:
        """Refuse what torch's batch norm refuses: one value per channel normalizes to zero.

        Raises:
            ValueError: as torch's, with the shape.
        """
        if x.shape[0] * values_per_sample(x) == 1:
            raise ValueError(
                f"Expected more than 1 value per channel when training, got input size {x.shape}; "
                "use a larger batch, or Frozen()"
            )

    def extra_repr(self) -> str:
        """Return the hyperparameters, and the switches that are set."""
        updates = [] if self.updates else ["updates=False"]
        used = [] if self.statistics is None else [f"statistics={self.statistics!r}"]
        return ", ".join((self.settings(), *updates, *used, "unseen by update_bn"))


def unbiased(var: Tensor, count: Tensor | int) -> Tensor:
    """Return the unbiased variance of `count` values from their biased one; 0 values stay 0."""
    if isinstance(count, int):
        return var * (count / max(count - 1, 1))
    return var * (count / (count - 1).clamp(min=1))


def reads_statistics(norm: nn.Module) -> bool:
    """Tell whether a norm has any use for the running statistics that it holds.

    Group and instance norms keep them only so that `revert` finds them.
    """
    return (
        not isinstance(norm, Normalization)
        or norm.has_fixed_statistics
        or isinstance(norm, TrackingNorm)
    )


def is_untrained(norm: nn.Module) -> bool:
    """Tell whether a norm uses running statistics, and these never saw data."""
    return reads_statistics(norm) and has_default_statistics(norm)
