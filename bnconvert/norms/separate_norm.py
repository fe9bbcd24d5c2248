"""The module of Separate: a norm that holds further domains' norms, and uses one of them."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bnconvert.errors import Refusal
from bnconvert.modules.tracking import TrackingNorm, unbiased
from bnconvert.numerics.batch_norm import slice_batch_norm
from bnconvert.numerics.blocks import Blocks
from bnconvert.numerics.kernels import Bounds, values_per_sample
from bnconvert.numerics.reduced import reduced_batch_norm
from bnconvert.numerics.slices import slice_affine
from bnconvert.torch_private.module_hooks import forward_pre_hooks, remove_forward_hooks
from bnconvert.torch_private.recomputation import is_unguarded_recomputation, with_recomputation_key


class SeparateNorm(TrackingNorm):
    """The norm of the first of several domains, which holds the norms of the others.

    Attributes:
        domains: the names.
        separates_affine: whether each domain has its own weight and bias.
        by_call: whether each call in a forward is a domain: the first call, the second, ...
        active: the domain in use, or the blocks of a mixed batch; None for the first domain.
            Set by `switches.domain`.
        position: with `by_call`, how many calls the root's forward has made so far; None
            outside of that forward.
    """

    added_names: ClassVar[tuple[str, ...]] = (
        "domains",
        "separates_affine",
        "by_call",
        "active",
        "position",
    )

    separates_affine: bool
    by_call: bool
    active: str | Blocks | None = None
    position: int | None = None

    @property
    def is_batch_norm_in_eval(self) -> bool:
        """Whether all samples are normalized by one domain's statistics."""
        return len(self.domains) == 1 or not (self.by_call or isinstance(self.active, Blocks))

    def norm_of(self, index: int) -> TrackingNorm:
        """Return the norm of the domain at a position in `domains`."""
        if index == 0:
            return self
        member = self.extras().get_submodule("domains")._modules[self.domains[index]]
        assert isinstance(member, TrackingNorm)
        return member

    def reset_running_stats(self) -> None:
        """Reset the statistics of all domains."""
        super().reset_running_stats()
        for index in range(1, len(self.domains)):
            self.norm_of(index).reset_running_stats()

    def normalize(self, x: Tensor) -> Tensor:
        """Normalize `x` by its domain's norm; a mixed batch block by block."""
        if isinstance(self.active, Blocks) and not self.by_call:
            return self._mixed(x, self.active)
        if self.by_call:
            index = self._next_call()
        else:
            index = 0 if self.active is None else self.domains.index(self.active)
            self._refuse_unknown_recomputation()
        return self._normalized_by(index, with_recomputation_key(x, index))

    def _normalized_by(self, index: int, x: Tensor) -> Tensor:
        """Normalize `x` by the statistics of one domain."""
        member = self.norm_of(index)
        owner = member if self.separates_affine else self
        return member.normalize_with(x, owner.weight, owner.bias)

    def _mixed(self, x: Tensor, blocks: Blocks) -> Tensor:
        """Normalize a batch of samples of several domains, each by its own domain."""
        if x.shape[0] != blocks.size:
            raise ValueError(
                f"input of shape {tuple(x.shape)} has {x.shape[0]} samples and the domain labels "
                f"{blocks.size}; give one label per sample that reaches the norm"
            )
        x = with_recomputation_key(x, blocks.fingerprint)
        if type(self) is SeparateNorm and blocks.size:
            for first, end in blocks.bounds if self.uses_batch_statistics() else ():
                self.require_several_values(x[: end - first])
            if blocks.order is not None and blocks.suits_runs(x):
                return self._by_runs(x, blocks)
            return blocks.scatter(self._by_blocks(blocks.gather(x), blocks))
        # Also the domains that have no sample: other ranks may, and wait for this one.
        gathered = blocks.gather(x)
        where = dict(zip(blocks.labels, blocks.bounds, strict=True))
        absent = [(label, (0, 0)) for label in range(len(self.domains)) if label not in where]
        parts = {
            label: self._normalized_by(label, gathered[first:end])
            for label, (first, end) in sorted([*where.items(), *absent])
        }
        return blocks.scatter(torch.cat([parts[label] for label in (*where, *dict(absent))]))

    def _by_blocks(self, x: Tensor, blocks: Blocks) -> Tensor:
        """Normalize every block of gathered samples at once."""
        weight, bias = self._affine_of(blocks.labels)
        if not self.uses_batch_statistics():
            return self._by_running_rows(x, weight, bias, blocks.labels, blocks.bounds)
        y, mean, var = slice_batch_norm(x, weight, bias, self.eps, blocks.bounds)
        for row, (first, end) in enumerate(blocks.bounds):
            spread = unbiased(var[row], (end - first) * values_per_sample(x))
            self.norm_of(blocks.labels[row]).track(mean[row], spread)
        return y

    def _by_runs(self, x: Tensor, blocks: Blocks) -> Tensor:
        """Normalize every run of samples in place; runs of one domain share their moments."""
        labels = blocks.run_labels
        weight, bias = self._affine_of(labels)
        if not self.uses_batch_statistics():
            return self._by_running_rows(x, weight, bias, labels, blocks.runs)
        y, count, mean, var = reduced_batch_norm(
            x, weight, bias, self.eps, blocks.runs, blocks.add_up
        )
        for label in blocks.labels:
            row = labels.index(label)
            self.norm_of(label).track(mean[row], unbiased(var[row], count[row]))
        return y

    def _by_running_rows(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        labels: Sequence[int],
        bounds: Bounds,
    ) -> Tensor:
        """Normalize each slice by its domain's running statistics."""
        members = [self.norm_of(label) for label in labels]
        mean = torch.stack([m.get_buffer("running_mean") for m in members])
        var = torch.stack([m.get_buffer("running_var") for m in members])
        scale = (var + self.eps).rsqrt()
        scale = scale if weight is None else scale * weight
        return slice_affine(x, mean, scale, bias, bounds)

    def _affine_of(self, labels: Sequence[int]) -> tuple[Tensor | None, Tensor | None]:
        """Return weight and bias of the domains, a row each."""
        owners = [self.norm_of(label) if self.separates_affine else self for label in labels]
        weight = None if self.weight is None else torch.stack([o.weight for o in owners])
        bias = None if self.bias is None else torch.stack([o.bias for o in owners])
        return weight, bias

    def _refuse_unknown_recomputation(self) -> None:
        """Raise where a checkpointed forward is recomputed and its domain is unknown."""
        if self.active is None and len(self.domains) > 1 and is_unguarded_recomputation():
            raise RuntimeError(
                "a checkpointed forward is recomputed and its domain is unknown; use "
                "checkpoint(..., use_reentrant=False, context_fn=lambda: bnconvert."
                "checkpoint_contexts(model)), or call backward() inside `with bnconvert.domain("
                "model, ...)`"
            )

    def _next_call(self) -> int:
        """Return the index of this call in the root's forward, and count it."""
        if self.position is None:
            raise RuntimeError(
                "a norm with statistics per call was called outside of the converted model's "
                "forward, where its calls are not counted; call that model, and checkpoint with "
                "use_reentrant=False, context_fn=lambda: bnconvert.checkpoint_contexts(model)"
            )
        index, self.position = self.position, self.position + 1
        if index >= len(self.domains):
            raise RuntimeError(
                f"a norm that was converted for {len(self.domains)} calls is called once more in "
                "one forward; convert the model as it is now"
            )
        return index

    def start_recording(self) -> dict[str, Any]:
        """Return the active domain and the position among the calls."""
        return {**super().start_recording(), "active": self.active, "position": self.position}

    def on_attach(self, model: nn.Module) -> None:
        """Count the calls of each forward of the root, if the calls are the domains."""
        hooks = forward_pre_hooks(model)
        if self.by_call and not any(isinstance(hook, ForwardStart) for hook in hooks):
            model.register_forward_pre_hook(ForwardStart(), prepend=True)
            model.register_forward_hook(ForwardEnd(), always_call=True)

    def on_detach(self, model: nn.Module) -> None:
        """Remove the root's hooks with the last norm that counts its calls."""
        if not any(isinstance(m, SeparateNorm) and m.by_call for m in model.modules()):
            remove_forward_hooks(model, lambda hook: isinstance(hook, ForwardStart | ForwardEnd))

    def why_not_detach(self) -> Refusal | None:
        """Refuse where the statistics of further domains would be lost."""
        if len(self.domains) == 1:
            return None
        return Refusal(
            "loses-domains",
            f"holds the statistics of {', '.join(self.domains)}, of which only one could stay",
            f"use revert(model, domain={self.domains[0]!r}) first",
        )

    def state_of(self, domain: str | None) -> Mapping[str, Tensor]:
        """Return the tensors of a domain; by default of the active one."""
        if domain is None:
            domain = self.active if isinstance(self.active, str) else self.domains[0]
        if domain not in self.domains:
            raise KeyError(domain)
        member = self.norm_of(self.domains.index(domain))
        tensors: dict[str, Any] = {**member._buffers}
        if self.separates_affine:
            tensors |= member._parameters
        return {k: v for k, v in tensors.items() if k != "skipped" and v is not None}

    def extras_for_plain_checkpoint(self, checkpoint: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return a checkpoint's statistics as those of every domain."""
        kept = self.extras().state_dict()
        return {name: checkpoint.get(name.rpartition(".")[2], kept[name]) for name in kept}

    def extra_repr(self) -> str:
        """Return the domains and the hyperparameters."""
        affine = "separate" if self.separates_affine else "shared"
        named = "calls" if self.by_call else "domains"
        return f"{named}={self.domains}, affine={affine!r}, {super().extra_repr()}"


class ForwardStart:
    """A hook before the root's forward: norms with statistics per call count calls from 0."""

    def __call__(self, model: nn.Module, inputs: Any) -> None:
        """Start counting at 0, also where the last forward raised."""
        for norm in _norms_by_call(model):
            norm.position = 0


class ForwardEnd:
    """A hook after the root's forward, on exceptions too: calls are no longer counted."""

    def __call__(self, model: nn.Module, inputs: Any, output: Any) -> None:
        """Stop counting."""
        for norm in _norms_by_call(model):
            norm.position = None


def _norms_by_call(model: nn.Module) -> list[SeparateNorm]:
    return [m for m in model.modules() if isinstance(m, SeparateNorm) and m.by_call]
