"""The module that every rewritten norm extends: torch's state, one `normalize`, an optional tail.

It keeps `weight`, `bias`, `running_mean`, `running_var` and `num_batches_tracked` at the paths
where torch's BatchNorm has them, so that a plain checkpoint loads into it, strictly.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase


class Normalization(_NormBase):
    """A norm that took a batch norm's place. Built by `surgery.inherit`, not by hand.

    It extends `_NormBase`, not `_BatchNorm`: tools that reset or convert every `_BatchNorm`
    (torch's `update_bn`, `convert_sync_batchnorm`) must not touch it unasked.

    Attributes:
        origin: the batch norm class that `revert` gives back.
        tail: names of children that run after the normalization, in order (timm's
            `BatchNormAct2d` is norm, drop, act).
    """

    #: Attributes of the variant itself, which `revert` must not leave behind.
    own: ClassVar[tuple[str, ...]] = ("origin", "tail")
    #: Whether eval mode computes what the batch norm before it computed in eval mode.
    is_batch_norm_in_eval: ClassVar[bool] = True
    #: Whether the running statistics are used in training mode too, and never change.
    has_fixed_statistics: ClassVar[bool] = False

    origin: type[_BatchNorm]
    tail: tuple[str, ...]

    def enter(self) -> None:
        """Do what must wait until the module stands in the user's model; `swap` calls it."""

    def leave(self) -> None:
        """Undo `enter`, when another module takes this one's place; `swap` calls it."""

    def normalize(self, x: Tensor) -> Tensor:
        """Normalize `x`, shape (N, C, ...), without the tail."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it normalizes")

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x` and run the tail; refuse what the origin class would refuse."""
        refuse_other_shapes: Callable[[_NormBase, Tensor], None] = self.origin._check_input_dim
        refuse_other_shapes(self, x)
        x = self.normalize(x)
        for name in self.tail:
            x = self.get_submodule(name)(x)
        return x

    def settings(self) -> str:
        """Return torch's own description of the hyperparameters."""
        describe: Callable[[_NormBase], str] = _NormBase.extra_repr
        return describe(self)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # A norm that was frozen elsewhere has no num_batches_tracked; a plain checkpoint,
        # which has it, loads all the same, because the statistics do not depend on it.
        super()._load_from_state_dict(state_dict, prefix, *rest)
        unexpected: list[str] = rest[3]
        key = f"{prefix}num_batches_tracked"
        if self.num_batches_tracked is None and key in unexpected:
            unexpected.remove(key)
