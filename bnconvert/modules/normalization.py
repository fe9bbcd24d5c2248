"""The module that every rewritten norm extends: torch's state, one `normalize`, an optional tail.

It keeps `weight`, `bias`, `running_mean`, `running_var` and `num_batches_tracked` at the paths
where torch's BatchNorm has them, so that a plain checkpoint loads into it, strictly. What a norm
keeps beyond that lies in one child, `EXTRAS`, which a plain checkpoint leaves as it is.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from bnconvert.errors import Refusal
from bnconvert.torch_private.norm_classes import check_dimensions
from bnconvert.torch_private.state_loading import StateLoading

#: The name of the child that holds a norm's persistent state beyond batch norm's own.
EXTRAS = "bnconvert"


class Extras(nn.Module):
    """Holds buffers, and norms of further domains; is never called."""


class Normalization(StateLoading, _NormBase):
    """A norm that took a batch norm's place. Built by `surgery.inherit`, not by hand.

    It extends `_NormBase`, not `_BatchNorm`: tools that reset or convert every `_BatchNorm`
    (torch's `update_bn`, `convert_sync_batchnorm`) must not touch it unasked.

    Attributes:
        origin: the batch norm class that `revert` gives back.
        tail: names of children that run after the normalization, in order (timm's
            `BatchNormAct2d` is norm, drop, act).
    """

    #: Attributes, buffers and children of the variant itself, which `revert` must remove;
    #: each class names only those that it adds.
    own: ClassVar[tuple[str, ...]] = ("origin", "tail", EXTRAS)
    #: Whether the running statistics are used in training mode too, and never change.
    has_fixed_statistics: ClassVar[bool] = False
    #: The names of the sets of statistics, where there are several.
    domains: tuple[str, ...] = ()

    origin: type[_BatchNorm]
    tail: tuple[str, ...]

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

    def init_state(self) -> None:
        """Create what this norm keeps beyond batch norm's state, after `inherit` has built it."""

    def on_attach(self, model: nn.Module) -> None:
        """Do what must wait until the module is part of the user's `model`; `swap` calls it."""

    def on_detach(self, model: nn.Module) -> None:
        """Undo `on_attach`, when another module takes this one's place; `swap` calls it."""

    def why_not_detach(self) -> Refusal | None:
        """Refuse where something would be lost if another norm took this one's place."""
        return None

    def state_of(self, domain: str | None) -> Mapping[str, Tensor]:
        """Return the buffers and parameters that batch norm of `domain` has instead of these.

        Args:
            domain: a set of statistics; None for the one that is in use.

        Raises:
            KeyError: there is no such domain.
        """
        return {}

    def normalize(self, x: Tensor) -> Tensor:
        """Normalize `x`, shape (N, C, ...), without the tail."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it normalizes")

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x` and run the tail; refuse what the origin class would refuse."""
        check_dimensions(self.origin, self, x)
        x = self.normalize(x)
        for name in self.tail:
            x = self.get_submodule(name)(x)
        return x

    def settings(self) -> str:
        """Return torch's own description of the hyperparameters."""
        describe: Callable[[_NormBase], str] = _NormBase.extra_repr
        return describe(self)

    def extras(self) -> Extras:
        """Return the child that holds the state beyond batch norm's own, made at first use."""
        if EXTRAS not in self._modules:
            self.add_module(EXTRAS, Extras().train(self.training))
        extras = self._modules[EXTRAS]
        assert isinstance(extras, Extras)
        return extras

    def extras_for(self, plain: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the extras, by name, that go with a plain batch norm's state: as they are."""
        return dict(self.extras().state_dict())

    def missing_state(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the extras that a plain checkpoint, which has none, leaves in place."""
        inner = f"{EXTRAS}."
        if EXTRAS not in self._modules or any(name.startswith(inner) for name in state):
            return {}
        return {inner + name: value for name, value in self.extras_for(state).items()}

    def unused_names(self) -> Collection[str]:
        """Return the counter of batches, where this norm has none: statistics do without it.

        A norm that was frozen elsewhere has none, and a plain checkpoint has one.
        """
        return () if self.num_batches_tracked is not None else ("num_batches_tracked",)


#: Which statistics normalize: those that the mode says (None), the running ones, or the batch's.
Statistics = Literal["running", "batch"] | None
