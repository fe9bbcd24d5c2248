"""Frozen: the statistics never change and are always used, in training as in eval.

y = weight * (x - running_mean) / sqrt(running_var + eps) + bias, a constant affine map of x
(Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3.4; He et al., "Deep Residual
Learning", 2016, for detectors). The running statistics may be trusted only when they were
trained or recomputed; freezing fresh ones freezes the identity.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.errors import Refusal
from bnconvert.modules.kinds import has_default_statistics
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.replacement import Replacement, needs_running_statistics
from bnconvert.modules.site import Site
from bnconvert.numerics.batch_norm import fixed_affine


class FrozenNorm(Normalization):
    """Batch norm by running statistics that never change, in training mode too.

    A frozen weight and bias stay frozen when somebody makes them require gradients again
    (`model.requires_grad_(True)`, a trainer's unfreezing): the forward detaches them, so that no
    gradient reaches them and no optimizer changes them.

    Attributes:
        freezes_affine: whether weight and bias are frozen too.
        trainable_before: names of the parameters that required gradients before they were
            frozen; they do again when another norm replaces this one.
    """

    added_names: ClassVar[tuple[str, ...]] = ("freezes_affine", "trainable_before")
    has_fixed_statistics: ClassVar[bool] = True

    freezes_affine: bool
    trainable_before: tuple[str, ...] = ()

    @property
    def keeps_from_training(self) -> tuple[str, ...]:
        """The names of the parameters that are frozen, whatever their `requires_grad` says."""
        own = self._parameters
        return tuple(n for n, p in own.items() if p is not None) if self.freezes_affine else ()

    def normalize(self, x: Tensor) -> Tensor:
        """Normalize `x` by the running statistics; the output has the dtype of `x`."""
        weight, bias = self._affine()
        if not any(tensor is not None and tensor.requires_grad for tensor in (weight, bias)):
            assert self.running_mean is not None
            assert self.running_var is not None
            return fixed_affine(x, self.running_mean, self.running_var, weight, bias, self.eps)
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            weight,
            bias,
            training=False,
            momentum=0.0,
            eps=self.eps,
        )

    def _affine(self) -> tuple[Tensor | None, Tensor | None]:
        """Return weight and bias, without gradient where they are the norm's and frozen.

        A tensor that stands in for one (`torch.func.functional_call`) belongs to its caller.
        """
        frozen = self.keeps_from_training
        weight: Tensor | None = self.weight
        bias: Tensor | None = self.bias
        if "weight" in frozen and isinstance(weight, nn.Parameter):
            weight = weight.detach()
        if "bias" in frozen and isinstance(bias, nn.Parameter):
            bias = bias.detach()
        return weight, bias

    def on_attach(self, model: nn.Module) -> None:
        """Freeze weight and bias, if that was asked for."""
        if self.freezes_affine:
            affine = dict(self.named_parameters(recurse=False))
            self.trainable_before = tuple(name for name, p in affine.items() if p.requires_grad)
            for parameter in affine.values():
                parameter.requires_grad_(False)
                parameter.grad = None  # an optimizer steps on whatever gradient it finds

    def on_detach(self, model: nn.Module) -> None:
        """Let what `on_attach` froze require gradients again."""
        for name in self.trainable_before:
            self.get_parameter(name).requires_grad_(True)

    def extra_repr(self) -> str:
        """Return the hyperparameters, what is frozen, and which requests to train are ignored."""
        frozen = "statistics, affine" if self.freezes_affine else "statistics"
        ignored = self.asked_to_train
        said = f", ignores requires_grad=True of {' and '.join(ignored)}" if ignored else ""
        return f"{self.settings()}, frozen=({frozen}){said}"


@dataclass(frozen=True)
class Frozen(Replacement):
    """Freeze the running statistics, and by default weight and bias too.

    Shape: (N, C, *) to the same. Source: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021,
    section 3.4.

    Args:
        affine: "frozen" or "trainable": whether weight and bias still learn.

    Raises:
        ValueError: `affine` is another string.

    Examples:
        >>> norm = bnc.convert(nn.BatchNorm1d(1), bnc.Frozen()).train()
        >>> y = norm(torch.randn(8, 1) + 5)
        >>> norm.running_mean, norm.weight.requires_grad
        (tensor([0.]), False)
    """

    affine: Literal["frozen", "trainable"] = "frozen"

    preserves_eval: ClassVar[bool] = True
    norm: ClassVar[type[Normalization]] = FrozenNorm

    def __post_init__(self) -> None:
        """Check the argument."""
        if self.affine not in ("frozen", "trainable"):
            raise ValueError(
                f'Frozen: affine is {self.affine!r}; use affine="frozen" or affine="trainable"'
            )

    @property
    def freezes_affine(self) -> bool:
        """Whether weight and bias are frozen too."""
        return self.affine == "frozen"

    def why_not(self, site: Site) -> Refusal | None:
        """Refuse norms without running statistics: there is nothing to freeze."""
        return needs_running_statistics(site, "to freeze", "use Group() or Keep()")

    def attributes(self, site: Site) -> dict[str, Any]:
        """Return what is frozen."""
        return {"freezes_affine": self.freezes_affine}

    def is_already_done(self, site: Site) -> bool:
        """Tell whether the norm is frozen already, by bnconvert or by another package."""
        if isinstance(site.module, Normalization) and site.module.asked_to_train:
            return False  # somebody made its parameters require gradients again
        elsewhere = site.kind.has_fixed_statistics and not isinstance(site.module, FrozenNorm)
        return super().is_already_done(site) or (elsewhere and self.freezes_affine)

    def caution(self, site: Site) -> str | None:
        """Warn of untrained statistics, and of parameters that others share or that never learn."""
        if has_default_statistics(site.module):
            return "its statistics are untrained (mean 0, variance 1): recompute them first"
        if not self.freezes_affine and (fixed := _without_gradient(site.module)):
            verb = "requires" if len(fixed) == 1 else "require"
            return (
                f"its {' and '.join(fixed)} {verb} no gradient: requires_grad_(True) to train them"
            )
        if self.freezes_affine and (other := site.shares_parameters_with) is not None:
            return f"shares its weight or bias with {other or '(root)'}: frozen there too"
        return None


def _without_gradient(norm: nn.Module) -> list[str]:
    """Return which parameters of a norm do not learn, and would again where a norm is replaced."""
    own = dict(norm.named_parameters(recurse=False))
    restored = norm.trainable_before if isinstance(norm, FrozenNorm) else ()
    return [
        n for n in ("weight", "bias") if n in own and not (own[n].requires_grad or n in restored)
    ]
