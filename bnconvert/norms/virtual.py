"""Virtual: a reference batch, forward only, enlarges the batch that normalizes.

A reference batch runs through the network before each training step, without gradient; at every
norm, the moments of the step's own samples are merged with the reference's (slide 27 of "Devils
in BatchNorm"; Wu and Johnson, 2021, section 3). With `per_sample`, each sample is merged with
the reference only, with weight n_ref / (n_ref + 1), so that its output does not depend on the
rest of its batch (Salimans et al., "Improved Techniques for Training GANs", 2016, section 3.4).

The reference itself is normalized by its own moments. Their count, mean and biased variance are
kept as `bnconvert.count`, `bnconvert.mean` and `bnconvert.var`. The running statistics track the
merged moments; eval is plain batch norm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bnconvert.errors import Refusal
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.replacement import Replacement
from bnconvert.modules.site import Site
from bnconvert.modules.tracking import TrackingNorm, unbiased
from bnconvert.norms.call_count import why_several_calls
from bnconvert.norms.reference_batch import ReferenceBatch
from bnconvert.norms.separate_norm import SeparateNorm
from bnconvert.norms.switches import update_statistics
from bnconvert.numerics.kernels import values_per_sample
from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.numerics.slices import slice_affine, slice_moments, whole
from bnconvert.torch_private.module_hooks import forward_pre_hooks, remove_forward_hooks


class VirtualNorm(TrackingNorm):
    """Batch norm by the batch and a reference together in training.

    Attributes:
        reference: the reference batch: positional inputs of the whole model.
        per_sample: whether each sample is merged with the reference alone.
        phase: "idle" before the reference ran, "recording" while it runs, "recorded" once it has
            passed here, then "ready".
    """

    added_names: ClassVar[tuple[str, ...]] = ("reference", "per_sample", "phase")

    reference: tuple[Tensor, ...]
    per_sample: bool
    phase: str = "idle"

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
        n = 1 if self.per_sample else x.shape[0]
        bounds = tuple((i, i + n) for i in range(0, x.shape[0], n))
        mean, var = self._merged(*slice_moments(x, bounds), n * values_per_sample(x))
        scale = (var + self.eps).rsqrt()
        scale = scale if weight is None else scale * weight
        shift = None if bias is None else bias.expand_as(mean)
        self._track_merged(x)
        return slice_affine(x, mean, scale, shift, bounds)

    def _record(self, x: Tensor) -> None:
        """Write the reference's moments into their buffers."""
        mean, var = slice_moments(x.detach(), whole(x))
        extras = self.extras()
        self.require_writable(extras._buffers, mean)
        extras.get_buffer("mean").copy_(mean[0])
        extras.get_buffer("var").copy_(var[0])
        extras.get_buffer("count").fill_(x.shape[0] * values_per_sample(x))

    def _merged(self, mean: Tensor, var: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Merge rows of moments with the reference's, as `numerics.moments` does."""
        extras = self.extras()
        other, spread = (extras.get_buffer(name).to(mean.dtype) for name in ("mean", "var"))
        share = count / (count + extras.get_buffer("count").to(torch.float64)).to(mean.dtype)
        delta = mean - other
        merged = share * var + (1 - share) * spread + share * (1 - share) * delta.square()
        return other + share * delta, merged

    def _track_merged(self, x: Tensor) -> None:
        """Update the running statistics by the merged moments of batch and reference."""
        count = x.shape[0] * values_per_sample(x)
        with torch.no_grad():
            mean, var = self._merged(*slice_moments(x, whole(x)), count)
            total = self.extras().get_buffer("count") + count
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
            forward(*reference)

    def _restart_call_counts(self, model: nn.Module) -> None:
        """Set the call counts of other norms to 0: they must not count the reference's forward."""
        for norm in model.modules():
            if isinstance(norm, SeparateNorm) and norm.by_call:
                norm.position = 0


@dataclass(frozen=True, eq=False)
class Virtual(Replacement):
    """Enlarge the batch that normalizes by a reference batch, in training.

    Shape: (N, C, *) to the same. Source: slide 27 of "Devils in BatchNorm"; `per_sample`: Salimans
    et al., "Improved Techniques for Training GANs", 2016, section 3.4.

    Args:
        reference: a batch of inputs of the whole model, or a tuple of its positional inputs.
        per_sample: merge each sample with the reference alone, so that outputs do not depend on
            the rest of the batch.

    Raises:
        ValueError: `reference` is not a batch.

    Examples:
        >>> net = bnc.convert(nn.Sequential(nn.BatchNorm1d(4)), bnc.Virtual(torch.randn(32, 4)))
        >>> net(torch.randn(1, 4)).shape  # one sample, normalized with the 32
        torch.Size([1, 4])
    """

    reference: Tensor | tuple[Tensor, ...]
    per_sample: bool = False

    preserves_eval: ClassVar[bool] = True
    norm: ClassVar[type[Normalization]] = VirtualNorm

    def __post_init__(self) -> None:
        """Check the argument."""
        given = self.reference if isinstance(self.reference, tuple) else (self.reference,)
        if not given or not all(isinstance(t, Tensor) and t.dim() and len(t) for t in given):
            raise ValueError(
                "Virtual: reference is not a batch; give a tensor of input samples, or a tuple of "
                "the model's positional inputs"
            )
        object.__setattr__(self, "reference", tuple(tensor.detach() for tensor in given))

    def why_not(self, site: Site) -> Refusal | None:
        """Refuse a norm that is called several times: each call needs moments of its own."""
        return why_several_calls(site, tuple(self.reference))

    def attributes(self, site: Site) -> dict[str, Any]:
        """Return the reference."""
        return {"reference": self.reference, "per_sample": self.per_sample}

    def is_already_done(self, site: Site) -> bool:
        """Tell whether the norm already has this reference."""
        norm = site.module
        return (
            isinstance(norm, VirtualNorm)
            and norm.per_sample == self.per_sample
            and len(norm.reference) == len(self.reference)
            and all(map(torch.equal, norm.reference, self.reference))
        )

    def __repr__(self) -> str:
        """Return the shapes: the numbers would be too long for source code."""
        shapes = ", ".join(f"<{'x'.join(map(str, t.shape))}>" for t in self.reference)
        return f"Virtual({shapes}{', per_sample=True' if self.per_sample else ''})"
