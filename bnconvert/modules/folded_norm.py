"""What is left of a norm that was folded away: its scale and settings, on what stands for it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnconvert.modules.kinds import eps_of

#: The plain attribute that holds it; a dict of torch's and Python's own types, so that a pickle of
#: the model is read without this package.
_NAME = "folded_norm"


@dataclass(frozen=True, eq=False)
class FoldedNorm:
    """What a folded model does not tell any more about a norm that it had.

    Attributes:
        scale: gamma / sqrt(running_var + eps), by which the layer before it was multiplied: shape
            (channels,), float64.
        eps: of the norm.
        momentum: of the norm.
    """

    scale: Tensor
    eps: float
    momentum: float | None

    @property
    def divisor(self) -> Tensor:
        """The scale, with 1 where it is 0 or not finite and nothing can be divided by it."""
        usable = torch.isfinite(self.scale) & (self.scale != 0)
        return torch.where(usable, self.scale, torch.ones_like(self.scale))


def eval_scale(norm: nn.Module) -> Tensor | None:
    """Return gamma / sqrt(running_var + eps) of a norm, by which eval mode multiplies.

    Returns:
        Shape (channels,), float64; None where the norm has no running variance in memory.
    """
    state = {**norm._buffers, **norm._parameters}
    var, weight = state.get("running_var"), state.get("weight")
    if var is None or not var.numel() or var.is_meta:
        return None
    scale = (var.detach().double() + eps_of(norm)).rsqrt()
    return scale if weight is None else scale * weight.detach().double()


def gain_range(norm: nn.Module) -> tuple[float, ...]:
    """Return the least, median and largest |gamma| / sqrt(running_var + eps) of the channels.

    Returns:
        Three numbers; none where a number is not there or not finite.
    """
    held = (*norm._buffers.values(), *norm._parameters.values())
    if any(t is not None and (nn.parameter.is_lazy(t) or t.is_meta) for t in held):
        return ()
    scale = eval_scale(norm)
    if scale is None or not torch.isfinite(scale).all():
        return ()
    gains = scale.abs()
    return float(gains.min()), float(gains.median()), float(gains.max())


def remember_norm(rest: nn.Module, norm: nn.Module) -> None:
    """Let the module that stands for a folded norm remember it."""
    scale = eval_scale(norm)
    if scale is not None:
        momentum = getattr(norm, "momentum", None)
        vars(rest)[_NAME] = {"scale": scale, "eps": eps_of(norm), "momentum": momentum}


def remembered_norm(rest: nn.Module | None) -> FoldedNorm | None:
    """Return the folded norm that a module remembers, or None."""
    held: Any = None if rest is None else vars(rest).get(_NAME)
    return FoldedNorm(**held) if isinstance(held, dict) else None
