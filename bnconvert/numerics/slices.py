"""Differentiable moments of consecutive slices of a batch, and a scale and shift for each slice.

A slice is a ghost batch, a rank's share, a domain's block or the whole batch. The functions are
pieces from which norms are built: statistics first, any arithmetic on the few numbers per
channel in ordinary differentiable torch, then one pass over the data. On the CPU they run torch's
own kernels (a third of the time of the same formula in elementary operations); elsewhere, and
under `torch.compile`, elementary operations, which a compiler fuses.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from bnconvert.numerics import kernels
from bnconvert.numerics.kernels import Bounds, statistics_dtype, values_per_sample


def whole(x: Tensor) -> Bounds:
    """Return the bounds of the one slice that is the whole batch."""
    return ((0, x.shape[0]),)


def slice_moments(x: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Measure mean and biased variance of each slice of a batch; each has shape (slices, C).

    Args:
        x: shape (N, C, ...).
        bounds: first and end of each slice of the batch axis; an empty slice has mean and
            variance 0.
    """
    if kernels.has_kernels(x):
        x = kernels.dense(x)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return kernels.measure(x, bounds)
        mean, var = _measure(x, bounds)
        return mean, var
    wide = x.to(statistics_dtype(x))
    return _stacked([_moments(wide[first:end]) for first, end in bounds])


def slice_affine(
    x: Tensor, center: Tensor, scale: Tensor, shift: Tensor | None, bounds: Bounds
) -> Tensor:
    """Return (x - center) * scale + shift in the dtype of `x`, each slice by its own row.

    Args:
        x: shape (N, C, ...).
        center: shape (slices, C), as are `scale` and `shift`; None shifts by 0.
        scale: the factors.
        shift: the terms.
        bounds: first and end of each slice of the batch axis.
    """
    dtype = statistics_dtype(x)
    center, scale = center.to(dtype), scale.to(dtype)
    shift = torch.zeros_like(center) if shift is None else shift.to(dtype)
    if kernels.has_kernels(x, center, scale, shift):
        y: Tensor = _transform(kernels.dense(x), center, scale, shift, bounds)
        return y
    parts = [
        (x[first:end].to(dtype) - _row(center, row, x)) * _row(scale, row, x) + _row(shift, row, x)
        for row, (first, end) in enumerate(bounds)
    ]
    return joined(parts).to(x.dtype)


class _Moments(Function):
    @staticmethod
    def forward(x: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
        return kernels.measure(x, bounds)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, ctx.bounds = inputs
        ctx.save_for_backward(x, output[0])

    @staticmethod
    def backward(ctx: Any, dmean: Tensor, dvar: Tensor) -> tuple[Tensor, None]:
        # d mean / dx = 1 / n and d var / dx = 2 (x - mean) / n.
        x, mean = ctx.saved_tensors
        positions = values_per_sample(x)
        counts = [max((end - first) * positions, 1) for first, end in ctx.bounds]
        share = 1 / mean.new_tensor(counts).unsqueeze(1)
        return slice_affine(x, mean, 2 * dvar * share, dmean * share, ctx.bounds), None


class _Affine(Function):
    @staticmethod
    def forward(x: Tensor, center: Tensor, scale: Tensor, shift: Tensor, bounds: Bounds) -> Tensor:
        return kernels.transform(x, center, scale, shift, bounds)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, center, scale, _, ctx.bounds = inputs
        ctx.save_for_backward(x, center, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        x, center, scale = ctx.saved_tensors
        dx = slice_affine(gradient, torch.zeros_like(center), scale, None, ctx.bounds)
        if torch.is_grad_enabled() or not kernels.has_kernels(gradient):
            # for a gradient of this gradient, or a batch of gradients
            centered = slice_affine(x, center, torch.ones_like(center), None, ctx.bounds)
            dscale, dshift = (_sums(g, ctx.bounds) for g in (gradient * centered, gradient))
        else:
            dscale, dshift = kernels.sums_backward(gradient, x, center, ctx.bounds)
        return dx, -scale * dshift, dscale, dshift, None


_measure: Callable[..., Any] = _Moments.apply
_transform: Callable[..., Any] = _Affine.apply


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each channel, differentiably."""
    if not x.numel():
        nothing = x.new_zeros(x.shape[1])
        return nothing, nothing
    axes = [axis for axis in range(x.dim()) if axis != 1]
    var, mean = torch.var_mean(x, axes, correction=0)
    return mean, var


def _stacked(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    first, second = zip(*pairs, strict=True)
    return torch.stack(first), torch.stack(second)


def _sums(x: Tensor, bounds: Bounds) -> Tensor:
    """Return the sum of each channel of each slice, shape (slices, C)."""
    wide, axes = x.to(statistics_dtype(x)), [axis for axis in range(x.dim()) if axis != 1]
    return torch.stack([wide[first:end].sum(axes) for first, end in bounds])


def _row(values: Tensor, row: int, x: Tensor) -> Tensor:
    return values[row].reshape(1, -1, *[1] * (x.dim() - 2))


def joined(parts: list[Tensor]) -> Tensor:
    """Concatenate slices to one batch."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)
