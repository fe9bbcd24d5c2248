"""The module of Virtual: a norm that merges the batch's moments with those of a reference batch."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bnconvert.modules.tracking import unbiased
from bnconvert.norms.recorded_norm import RecordedNorm
from bnconvert.norms.reference_batch import ReferenceBatch
from bnconvert.norms.separate_norm import SeparateNorm
from bnconvert.norms.switches import update_statistics
from bnconvert.numerics.kernels import values_per_sample
from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.numerics.slices import slice_affine, slice_moments, whole
from bnconvert.torch_private.module_hooks import forward_pre_hooks, remove_forward_hooks
from bnconvert.torch_private.recomputation import (
    checkpointed_region,
    is_recomputation,
    is_unguarded_recomputation,
    with_recomputation_key,
)


class VirtualNorm(RecordedNorm):
    """Batch norm by the batch and a reference together in training.

    Attributes:
        reference: the reference batch: positional inputs of the whole model.
        per_sample: whether each sample is merged with the reference alone.
        phase: "idle" before the reference ran, "recording" while it runs, "recorded" once it has
            passed here, then "ready".
        draws: how many passes of the reference drew random numbers, as dropout does: each has
            other moments, though the weights are the same.
        region: the checkpointed region in which it ran last, or None.
        ran_again: whether that was itself a recomputation.
    """

    added_names: ClassVar[tuple[str, ...]] = (
        "reference",
        "per_sample",
        "phase",
        "draws",
        "region",
        "ran_again",
    )

    reference: tuple[Tensor, ...]
    per_sample: bool
    phase: str = "idle"
    draws: int = 0
    region: int | None = None
    ran_again: bool = False

    def init_state(self) -> None:
        """Create the buffers of the reference's moments."""
        super().init_state()
        like = next((t for t in (self.running_mean, self.weight) if t is not None), torch.zeros(1))
        for name in ("mean", "var"):
            self.extras().register_buffer(name, like.detach().new_zeros(self.num_features))
        count = torch.zeros((), dtype=torch.long, device=like.device)
        self.extras().register_buffer("count", count)

    def normalize_by_batch(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Normalize by the batch's moments merged with the reference's.

        Raises:
            RuntimeError: the root's forward, which runs the reference, was never called; or the
                reference came here twice.
        """
        if self.phase == "recording":
            self._record(x)
            self.phase = "recorded"
            return self.normalize_by_whole_batch(x, weight, bias)  # it tracks nothing in this phase
        if self.phase == "recorded":
            raise RuntimeError(
                "a virtual batch norm was called twice in one forward of its reference, whose "
                "moments of one call do not fit another; use Keep() for it"
            )
        if self.phase == "idle":
            raise RuntimeError(
                "a virtual batch norm was called before its reference batch ran; call the "
                "converted model, whose forward runs it"
            )
        if not x.numel():
            return self.normalize_by_whole_batch(x, weight, bias)
        x, reference = self._with_reference(x)
        n = 1 if self.per_sample else x.shape[0]
        bounds = tuple((i, i + n) for i in range(0, x.shape[0], n))
        mean, var = self._merged(slice_moments(x, bounds), n * values_per_sample(x), reference)
        scale = (var + self.eps).rsqrt()
        scale = scale if weight is None else scale * weight
        shift = None if bias is None else bias.expand_as(mean)
        self._track_merged(x, reference)
        return slice_affine(x, mean, scale, shift, bounds)

    def _record(self, x: Tensor) -> None:
        """Write the reference's moments into their buffers."""
        mean, var = slice_moments(x.detach(), whole(x))
        extras = self.extras()
        self.require_writable(extras._buffers, mean)
        extras.get_buffer("mean").copy_(mean[0])
        extras.get_buffer("var").copy_(var[0])
        extras.get_buffer("count").fill_(x.shape[0] * values_per_sample(x))

    def _with_reference(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return `x`, and the reference's moments: mean, variance and count.

        Raises:
            RuntimeError: this is the recomputation of a checkpointed forward, after the reference
                may have got other moments.
        """
        if self.replay is not None:
            return x, next(self.replay)
        moments = tuple(self.extras().get_buffer(name) for name in ("mean", "var", "count"))
        if torch.compiler.is_compiling():
            return x, moments
        if self.record is not None:
            moments = tuple(tensor.clone() for tensor in moments)
            self.record.append(moments)
        elif self.draws and is_unguarded_recomputation() and not self.ran_again:
            raise RuntimeError(
                "a checkpointed virtual batch norm is recomputed, and its reference, in which "
                "random numbers are drawn, may have run again since; use checkpoint(..., "
                "use_reentrant=False, context_fn=lambda: bnconvert.checkpoint_contexts(model))"
            )
        elif checkpointed_region() != self.region:  # else a recomputation runs the reference too
            x = with_recomputation_key(x, self.draws)
        return x, moments

    def _merged(
        self, moments: tuple[Tensor, Tensor], count: int, reference: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        """Merge rows of moments with the reference's, as `numerics.moments` does."""
        mean, var = moments
        other, spread = (tensor.to(mean.dtype) for tensor in reference[:2])
        share = count / (count + reference[2].to(torch.float64)).to(mean.dtype)
        delta = mean - other
        merged = share * var + (1 - share) * spread + share * (1 - share) * delta.square()
        return other + share * delta, merged

    def _track_merged(self, x: Tensor, reference: tuple[Tensor, ...]) -> None:
        """Update the running statistics by the merged moments of batch and reference."""
        count = x.shape[0] * values_per_sample(x)
        with torch.no_grad():
            mean, var = self._merged(slice_moments(x, whole(x)), count, reference)
            total = reference[2] + count
            self.track(mean[0], unbiased(var[0], total.to(var.dtype)))

    def on_attach(self, model: nn.Module) -> None:
        """Let the root run the reference before its forward, once for all norms."""
        hooks = [h for h in forward_pre_hooks(model) if isinstance(h, ReferencePass)]
        if not any(hook.is_for(self) for hook in hooks):
            model.register_forward_pre_hook(ReferencePass(self.reference), prepend=True)

    def on_detach(self, model: nn.Module) -> None:
        """Remove the root's hook with the last norm that needs it."""
        remove_forward_hooks(
            model, lambda hook: isinstance(hook, ReferencePass) and not hook.norms_of(model)
        )

    def extra_repr(self) -> str:
        """Return the reference's shape and the hyperparameters."""
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in self.reference)
        alone = ", per_sample=True" if self.per_sample else ""
        return f"reference={shapes}{alone}, {super().extra_repr()}"


class ReferencePass:
    """A hook before the root's forward that, in training mode, runs the reference first.

    Attributes:
        reference: the root's positional inputs, on its device.
    """

    def __init__(self, reference: tuple[Tensor, ...]) -> None:
        """Keep the reference."""
        self.reference = ReferenceBatch(reference)

    def is_for(self, norm: VirtualNorm) -> bool:
        """Tell whether the norm has this reference: the very tensors, also in a copy of both."""
        return norm.reference[0] is self.reference.tensors[0]

    def norms_of(self, model: nn.Module) -> list[VirtualNorm]:
        """Return the norms that this reference is for."""
        return [m for m in model.modules() if isinstance(m, VirtualNorm) and self.is_for(m)]

    def __call__(self, model: nn.Module, inputs: Any) -> None:
        """Run the reference through the model; every virtual norm records its moments."""
        norms = self.norms_of(model)
        if not any(norm.training for norm in norms) or any(
            n.phase in ("recording", "recorded") for n in norms
        ):
            return
        try:
            for norm in norms:
                norm.phase = "recording"
            self._run(model, inputs)
        finally:
            for norm in norms:
                norm.phase = "ready"
            self._restart_call_counts(model)

    def _run(self, model: nn.Module, inputs: Any) -> None:
        """Run the reference through the model, without gradient and without other effects."""
        forward: Callable[..., Any] = model.forward
        self._restart_call_counts(model)
        reference = self.reference.copied_like(inputs, next(model.parameters(), None))
        if torch.compiler.is_compiling():  # a compiler draws its own random numbers
            with torch.no_grad(), update_statistics(model, False):
                forward(*reference)
            return
        with torch.no_grad(), preserved_random_state(), update_statistics(model, False):
            before = _generators(reference)
            forward(*reference)
            drew = not all(map(torch.equal, _generators(reference), before))
        region, again = checkpointed_region(), is_recomputation()
        for norm in self.norms_of(model):
            norm.draws += drew and not again
            norm.region, norm.ran_again = region, again

    def _restart_call_counts(self, model: nn.Module) -> None:
        """Set the call counts of other norms to 0: they must not count the reference's forward."""
        for norm in model.modules():
            if isinstance(norm, SeparateNorm) and norm.by_call:
                norm.position = 0


def _generators(tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """Return the states of the generators that a forward of these tensors draws from."""
    devices = sorted({tensor.device.index for tensor in tensors if tensor.is_cuda})
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(index) for index in devices)]
