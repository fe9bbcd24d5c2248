"""Folding a per-channel scale and shift into the weights of the layer before or after it.

An output map: y = s * (W x + b) + t = (s W) x + (s b + t). An input map: y = W (s x + t) + b =
(W s) x + (b + W t), where the second term is right only if every window lies inside the input.
All in float64; the caller rounds once. Weights may be factored.
"""

from typing import TypeVar

import torch
from torch import Tensor

from bnconvert.numerics.factored import Factored

Weight = TypeVar("Weight", Tensor, Factored)


def linear_with_output_map(
    weight: Weight, bias: Tensor | None, scale: Tensor, shift: Tensor
) -> tuple[Weight, Tensor | None]:
    """Return weight and bias of a convolution or linear layer followed by a scale and a shift.

    Args:
        weight: output channels first: (out, in/groups, *kernel) or (out, in).
        bias: shape (out,), or None for 0.
        scale: shape (out,).
        shift: shape (out,).
    """
    return weight * _along(scale, 0, weight), _mapped(bias, scale, shift)


def transposed_with_output_map(
    weight: Weight, bias: Tensor | None, scale: Tensor, shift: Tensor, groups: int
) -> tuple[Weight, Tensor | None]:
    """Return weight and bias of a transposed convolution followed by a scale and a shift.

    The output channels lie on axis 1 of the weight, group by group: output channel
    g * (out/groups) + j is made by the input channels of group g and column j.

    Args:
        weight: shape (in, out/groups, *kernel).
        bias: shape (out,), or None for 0.
        scale: shape (out,).
        shift: shape (out,).
        groups: the convolution's groups; `in` and `out` are multiples of it.
    """
    inputs, columns = weight.shape[:2]
    per_group = scale.reshape(groups, 1, columns).expand(groups, inputs // groups, columns)
    spread = per_group.reshape(inputs, columns, *[1] * (weight.dim() - 2))
    return weight * spread, _mapped(bias, scale, shift)


def conv_with_input_map(
    weight: Weight, bias: Tensor | None, scale: Tensor, shift: Tensor, groups: int
) -> tuple[Weight, Tensor | None]:
    """Return weight and bias of a convolution or linear layer that a scale and a shift precede.

    Args:
        weight: shape (out, in/groups, *kernel) or (out, in).
        bias: shape (out,), or None for 0.
        scale: shape (in,).
        shift: shape (in,); with anything but zeros no window may reach over the border.
        groups: the convolution's groups; output channels of group g read input channels of it.
    """
    out, columns = weight.shape[:2]
    rest = [1] * (weight.dim() - 2)

    def spread(vector: Tensor) -> Tensor:  # (in,) -> (out, in/groups, 1, ...)
        rows = vector.reshape(groups, 1, columns).expand(groups, out // groups, columns)
        return rows.reshape(out, columns, *rest)

    new_weight = weight * spread(scale)
    if not bool(shift.any()):
        return new_weight, bias
    numbers = weight.numbers() if isinstance(weight, Factored) else weight
    moved = (numbers * spread(shift)).flatten(1).sum(1)
    return new_weight, moved if bias is None else bias + moved


def transposed_with_input_scale(weight: Weight, scale: Tensor) -> Weight:
    """Return the weight of a transposed convolution that a multiplication precedes.

    An addition cannot be moved: how many windows overlap differs from place to place.

    Args:
        weight: shape (in, out/groups, *kernel).
        scale: shape (in,).
    """
    return weight * _along(scale, 0, weight)


def dense_weight(weight: Tensor, groups: int, fewer: int) -> Tensor:
    """Return a grouped convolution's weight as that of one with fewer, larger groups.

    Args:
        weight: shape (out, in/groups, *kernel).
        groups: its groups.
        fewer: the groups of the result; a divisor of `groups`.
    """
    if groups == fewer:
        return weight
    out, columns = weight.shape[:2]
    merged = groups // fewer  # so many old groups make a new one
    rows = out // groups
    wide = weight.new_zeros(fewer, merged, rows, merged, columns, *weight.shape[2:])
    parts = weight.reshape(fewer, merged, rows, columns, *weight.shape[2:])
    for index in range(merged):
        wide[:, index, :, index] = parts[:, index]
    return wide.reshape(out, merged * columns, *weight.shape[2:])


def composed(first: Tensor, second: Tensor) -> Tensor:
    """Return the weight of one convolution that does two in a row, one of them of one pixel.

    Args:
        first: shape (middle, in, *kernel).
        second: shape (out, middle, *kernel).
    """
    kernel = first.shape[2:] if second.shape[2:].numel() == 1 else second.shape[2:]
    if second.shape[2:].numel() == 1:
        product = second.flatten(1) @ first.flatten(1)
        return product.reshape(second.shape[0], first.shape[1], *kernel)
    taps = second.flatten(2).movedim(2, 0) @ first.flatten(1)  # (taps, out, in)
    return taps.movedim(0, 2).reshape(second.shape[0], first.shape[1], *kernel)


def _along(vector: Tensor, axis: int, like: Tensor | Factored) -> Tensor:
    shape = [1] * like.dim()
    shape[axis] = -1
    return vector.reshape(shape)


def _mapped(bias: Tensor | None, scale: Tensor, shift: Tensor) -> Tensor | None:
    if bias is None:
        return shift.clone() if bool(shift.any()) else None
    return torch.addcmul(shift, bias, scale)
