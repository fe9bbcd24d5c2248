"""Eval batch norm as scale and shift per channel, and its fold into the weights before it.

In eval, y = gamma * (x - mu) / sqrt(var + eps) + beta is y = scale * x + shift with
scale = gamma / sqrt(var + eps) and shift = beta - mu * scale (Ioffe and Szegedy, "Batch
Normalization", 2015, algorithm 2, step 11). All of it happens in float64 and is cast once.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Affine:
    """The map y = scale * x + shift, per channel.

    Attributes:
        scale: shape (C,), float64.
        shift: shape (C,), float64.
    """

    scale: Tensor
    shift: Tensor

    def is_finite(self) -> bool:
        """Tell whether every scale and shift is a finite number."""
        return bool(torch.isfinite(self.scale).all() and torch.isfinite(self.shift).all())


def batch_norm_affine(
    mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Affine:
    """Return eval batch norm with these statistics as scale and shift.

    Args:
        mean: running mean, shape (C,).
        var: running variance, shape (C,).
        weight: gamma, shape (C,), or None for 1.
        bias: beta, shape (C,), or None for 0; each may be missing alone.
        eps: added to the variance, inside the root.
    """
    scale = (var.detach().double() + eps).rsqrt()
    if weight is not None:
        scale = weight.detach().double() * scale
    shift = -mean.detach().double() * scale
    if bias is not None:
        shift = shift + bias.detach().double()
    return Affine(scale, shift)


def fold_after_linear(weight: Tensor, bias: Tensor | None, affine: Affine) -> tuple[Tensor, Tensor]:
    """Return the weight and bias of a convolution or linear layer with `affine` after it.

    W' = scale * W along the output axis, b' = scale * b + shift.

    Args:
        weight: output channels first: (out, in/groups, *kernel) or (out, in).
        bias: shape (out,), or None for 0.
        affine: one scale and shift per output channel.
    """
    scale = affine.scale.reshape(-1, *[1] * (weight.dim() - 1))
    return (weight.detach().double() * scale).to(weight.dtype), _bias(weight, bias, affine)


def fold_after_conv_transpose(
    weight: Tensor, bias: Tensor | None, affine: Affine, groups: int
) -> tuple[Tensor, Tensor]:
    """Return the weight and bias of a transposed convolution with `affine` after it.

    The output channels lie on axis 1 of the weight, group by group: output channel
    g * (out/groups) + j is made by the input channels of group g and column j.

    Args:
        weight: shape (in, out/groups, *kernel).
        bias: shape (out,), or None for 0.
        affine: one scale and shift per output channel.
        groups: the convolution's groups; `in` and `out` are multiples of it.
    """
    inputs, columns = weight.shape[:2]
    per_group = affine.scale.reshape(groups, 1, columns).expand(groups, inputs // groups, columns)
    scale = per_group.reshape(inputs, columns, *[1] * (weight.dim() - 2))
    return (weight.detach().double() * scale).to(weight.dtype), _bias(weight, bias, affine)


def _bias(weight: Tensor, bias: Tensor | None, affine: Affine) -> Tensor:
    if bias is None:
        return affine.shift.to(weight.dtype)
    return (bias.detach().double() * affine.scale + affine.shift).to(bias.dtype)
