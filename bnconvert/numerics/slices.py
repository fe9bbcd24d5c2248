"""Differentiable moments, affine map and batch norm of consecutive slices of a batch.

A slice is a ghost batch, a rank's share, a domain's block or the whole batch. The three functions
are pieces from which every norm is built: statistics first, any arithmetic on the few numbers per
channel in ordinary differentiable torch, then one pass over the data. On the CPU they run torch's
own kernels (a third of the time of the same formula in elementary operations); elsewhere, and
under `torch.compile`, elementary operations, which a compiler fuses.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from bnconvert.numerics import kernels
from bnconvert.numerics.kernels import Bounds, statistics_dtype


def whole(x: Tensor) -> Bounds:
    """Return the bounds of the one slice that is the whole batch."""
    return ((0, x.shape[0]),)


def slice_moments(x: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each slice, shape (slices, C), at least float32.

    Args:
        x: shape (N, C, ...).
        bounds: first and end of each slice of the batch axis; an empty slice has mean and
            variance 0.
    """
    if _has_kernels(x):
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
    if _has_kernels(x):
        y: Tensor = _transform(kernels.dense(x), center, scale, shift, bounds)
        return y
    parts = [
        (x[first:end].to(dtype) - _row(center, row, x)) * _row(scale, row, x) + _row(shift, row, x)
        for row, (first, end) in enumerate(bounds)
    ]
    return _joined(parts).to(x.dtype)


def slice_batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, bounds: Bounds
) -> tuple[Tensor, Tensor, Tensor]:
    """Return batch norm of each slice by its own moments, and mean and biased variance.

    y = weight * (x - mean) / sqrt(var + eps) + bias; the gradient goes through the moments too,
    but those that are returned, of shape (slices, C), have none.

    Args:
        x: shape (N, C, ...).
        weight: shape (slices, C), or None for 1.
        bias: shape (slices, C), or None for 0.
        eps: added to the variance.
        bounds: first and end of each slice of the batch axis; none may have a single value.
    """
    if not _has_kernels(x):
        moments = slice_moments(x.detach(), bounds)
        return batch_norm_by(x, weight, bias, moments, eps, bounds), *moments
    dtype, shape = statistics_dtype(x), (len(bounds), x.shape[1])
    weight = x.new_ones(shape, dtype=dtype) if weight is None else weight.to(dtype)
    bias = x.new_zeros(shape, dtype=dtype) if bias is None else bias.to(dtype)
    y, mean, var, _ = _measure_and_normalize(kernels.dense(x), weight, bias, eps, bounds)
    return y, mean, var


def batch_norm_by(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    moments: tuple[Tensor, Tensor],
    eps: float,
    bounds: Bounds,
) -> Tensor:
    """Return what `slice_batch_norm` does, where the moments are known already.

    Args:
        x: shape (N, C, ...).
        weight: shape (slices, C), or None for 1; it may depend on the moments.
        bias: shape (slices, C), or None for 0.
        moments: what `slice_moments` measured on the same `x`, without its gradient.
        eps: added to the variance.
        bounds: first and end of each slice of the batch axis.
    """
    mean, var = moments
    weight = torch.ones_like(mean) if weight is None else weight.to(mean.dtype)
    bias = torch.zeros_like(mean) if bias is None else bias.to(mean.dtype)
    if _has_kernels(x):
        y: Tensor = _normalize(kernels.dense(x), weight, bias, mean, (var + eps).rsqrt(), bounds)
        return y
    parts = [
        F.batch_norm(x[first:end], None, None, weight[row], bias[row], True, 0.0, eps)
        for row, (first, end) in enumerate(bounds)
    ]
    return _joined(parts)


def fixed_affine(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Return eval batch norm by tensors that get no gradient; `x` is not kept for backward.

    Args:
        x: shape (N, C, ...).
        mean: shape (C,), as are the others.
        var: the variance.
        weight: gamma, or None for 1.
        bias: beta, or None for 0.
        eps: added to the variance.
    """
    if not (torch.is_grad_enabled() and x.requires_grad) or not _has_kernels(x):
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)
    y: Tensor = _fix(x, mean, var, weight, bias, eps)
    return y


class _Fixed(Function):
    @staticmethod
    def forward(
        x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, _, var, weight, _, eps = inputs
        scale = (var.to(statistics_dtype(output)) + eps).rsqrt()
        ctx.save_for_backward(scale if weight is None else scale * weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = ctx.saved_tensors
        center, bounds = torch.zeros_like(scale).unsqueeze(0), whole(gradient)
        dx = slice_affine(gradient, center, scale.unsqueeze(0), None, bounds)
        return dx, None, None, None, None, None


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
        positions = x[0, 0].numel() if len(x) else 0
        counts = [max((end - first) * positions, 1) for first, end in ctx.bounds]
        share = 1 / dmean.new_tensor(counts).unsqueeze(1)
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
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            dx = slice_affine(gradient, torch.zeros_like(center), scale, None, ctx.bounds)
            centered = slice_affine(x, center, torch.ones_like(center), None, ctx.bounds)
            dscale, dshift = (_sums(g, ctx.bounds) for g in (gradient * centered, gradient))
        else:
            dx, dscale, dshift = kernels.backward(gradient, x, scale, center, None, ctx.bounds)
        return dx, -scale * dshift, dscale, dshift, None


class _BatchNorm(Function):
    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, invstd: Tensor, bounds: Bounds
    ) -> Tensor:
        return kernels.transform(x, mean, weight * invstd, bias, bounds)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, mean, invstd, ctx.bounds = inputs
        ctx.save_for_backward(x, weight, mean, invstd)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, invstd = ctx.saved_tensors
        gradients = kernels.backward(gradient, x, weight, mean, invstd, ctx.bounds)
        return *gradients, None, None, None


class _MeasuredBatchNorm(Function):
    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor, eps: float, bounds: Bounds
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return kernels.batch_norm(x, weight, bias, eps, bounds)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, weight, _, _, ctx.bounds = inputs
        _, mean, var, invstd = output
        ctx.save_for_backward(x, weight, mean, invstd)
        ctx.mark_non_differentiable(mean, var, invstd)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, invstd = ctx.saved_tensors
        gradients = kernels.backward(gradient, x, weight, mean, invstd, ctx.bounds)
        return *gradients, None, None


_fix: Callable[..., Any] = _Fixed.apply
_measure: Callable[..., Any] = _Moments.apply
_transform: Callable[..., Any] = _Affine.apply
_normalize: Callable[..., Any] = _BatchNorm.apply
_measure_and_normalize: Callable[..., Any] = _MeasuredBatchNorm.apply


def _has_kernels(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
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
    wide = x.to(statistics_dtype(x))
    return torch.stack([wide[first:end].transpose(0, 1).flatten(1).sum(1) for first, end in bounds])


def _row(values: Tensor, row: int, x: Tensor) -> Tensor:
    return values[row].reshape(1, -1, *[1] * (x.dim() - 2))


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
