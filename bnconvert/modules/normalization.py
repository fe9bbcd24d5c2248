"""The base class of all norms of bnconvert: batch norm's state, and a `normalize` of its own.

It keeps `weight`, `bias`, `running_mean`, `running_var` and `num_batches_tracked` at the paths
where torch's BatchNorm has them, so that a plain checkpoint loads into it, strictly. What a norm
keeps beyond that lies in one child, `EXTRAS`, which a plain checkpoint leaves as it is.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from bnconvert.errors import Refusal
from bnconvert.torch_private.norm_classes import check_dimensions
from bnconvert.torch_private.state_loading import StateLoading

#: The name of the child that holds a norm's persistent state beyond batch norm's own.
EXTRAS = "bnconvert"
#: The tensors of batch norm itself.
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class Extras(nn.Module):
    """The child of a norm that holds its state beyond batch norm's own; it is never called."""


class Normalization(StateLoading, _NormBase):
    """A norm that replaces a batch norm. Built by `surgery.inherit`, not by its `__init__`.

    It extends `_NormBase`, not `_BatchNorm`: tools that reset or convert every `_BatchNorm`
    (torch's `update_bn`, `convert_sync_batchnorm`) must not touch it unasked.

    Attributes:
        origin: the batch norm class that `revert` gives back.
        children_after: names of the children that the forward calls after it has normalized, in
            order (timm's `BatchNormAct2d` is norm, drop, act).
    """

    #: The attributes, buffers and children that this class adds to batch norm's, which `revert`
    #: must remove; each subclass names only those that it adds itself.
    added_names: ClassVar[tuple[str, ...]] = ("origin", "children_after", EXTRAS)
    #: Whether the running statistics are used in training mode too, and never change.
    has_fixed_statistics: ClassVar[bool] = False
    #: The names of the sets of statistics, where there are several.
    domains: tuple[str, ...] = ()

    origin: type[_BatchNorm]
    children_after: tuple[str, ...]

    @property
    def is_batch_norm_in_eval(self) -> bool:
        """Whether eval mode is batch norm by one set of running statistics."""
        return True

    @property
    def mixes_samples_in_eval(self) -> bool:
        """Whether a sample's output is meant to depend on the rest of its batch in eval mode."""
        return False

    @property
    def remembers_in_eval(self) -> bool:
        """Whether an eval forward changes what the next one computes."""
        return False

    @property
    def keeps_from_training(self) -> tuple[str, ...]:
        """The names of the parameters that never get a gradient: none, where nothing is frozen."""
        return ()

    @property
    def asked_to_train(self) -> tuple[str, ...]:
        """The names of parameters that require gradients and never get one."""
        return tuple(n for n in self.keeps_from_training if self.get_parameter(n).requires_grad)

    def init_state(self) -> None:
        """Create the state that this norm has beyond batch norm's, after `inherit` built it."""

    def on_attach(self, model: nn.Module) -> None:
        """Prepare the user's `model` for this norm; `swap` calls it when it has attached it."""

    def on_detach(self, model: nn.Module) -> None:
        """Undo `on_attach`; `swap` calls it when another module has replaced this one."""

    def why_not_detach(self) -> Refusal | None:
        """Refuse where state would be lost if another norm replaced this one."""
        return None

    def reset_running_stats(self) -> None:
        """Reset the running statistics, as torch's, and what the norm counts and keeps beside."""
        super().reset_running_stats()
        kept = [] if EXTRAS not in self._modules else [*self.extras().buffers(recurse=False)]
        kept += [b for name, b in self.named_buffers(recurse=False) if name not in BATCH_NORM]
        for buffer in kept:
            buffer.zero_()

    def reset_parameters(self) -> None:
        """Reset the statistics, and the weight and bias that the norm holds itself; as torch's."""
        self.reset_running_stats()
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def state_of(self, domain: str | None) -> Mapping[str, Tensor]:
        """Return the buffers and parameters in which a domain's batch norm differs from this one.

        Args:
            domain: a set of statistics; None for the one that is in use.

        Raises:
            KeyError: there is no such domain.
        """
        return {}

    def normalize(self, x: Tensor) -> Tensor:
        """Normalize `x`, shape (N, C, ...); the children that run afterwards are not called."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it normalizes")

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x` and call the children that follow; refuse what the origin class would.

        A trace of torch.fx (torchvision's feature extractors, quantization) calls it as a whole,
        as it does torch's own norms.
        """
        if isinstance(x, fx.Proxy):
            path = x.tracer.path_of_module(self)
            return x.tracer.create_proxy("call_module", path, (x,), {})
        check_dimensions(self.origin, self, x)
        x = self.normalize(x)
        for name in self.children_after:
            x = self.get_submodule(name)(x)
        return x

    def settings(self) -> str:
        """Return torch's own description of the hyperparameters."""
        describe: Callable[[_NormBase], str] = _NormBase.extra_repr
        return describe(self)

    def extras(self) -> Extras:
        """Return the child that holds the state beyond batch norm's own; create it at first use."""
        if EXTRAS not in self._modules:
            self.add_module(EXTRAS, Extras().train(self.training))
        extras = self._modules[EXTRAS]
        assert isinstance(extras, Extras)
        return extras

    def extras_for_plain_checkpoint(self, checkpoint: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the extras, by name, after a plain batch norm's state is loaded: unchanged."""
        return dict(self.extras().state_dict())

    def missing_state(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the extras to load with a plain checkpoint, which has none."""
        inner = f"{EXTRAS}."
        if EXTRAS not in self._modules or any(name.startswith(inner) for name in state):
            return {}
        extras = self.extras_for_plain_checkpoint(state).items()
        # Copies: with `assign=True` several sets of statistics would be one tensor.
        return {inner + name: value.detach().clone() for name, value in extras}

    def unused_names(self) -> Collection[str]:
        """Return names in a plain checkpoint that this norm ignores: a counter it does not have.

        A norm that was frozen elsewhere has no `num_batches_tracked`, and does not need it.
        """
        return () if self.num_batches_tracked is not None else ("num_batches_tracked",)


#: Which statistics normalize: those that the mode says (None), the running ones, or the batch's.
Statistics = Literal["running", "batch"] | None
