"""Batch norm of consecutive slices of a batch, each by its own moments; and the fixed affine map.

One pass backward where the composition of `slice_moments` and `slice_affine` needs three.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from bnconvert.numerics import kernels
from bnconvert.numerics.kernels import Bounds, statistics_dtype
from bnconvert.numerics.slices import joined, slice_moments


def slice_batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, bounds: Bounds
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch-normalize each slice by its own moments; return output, mean and biased variance.

    y = weight * (x - mean) / sqrt(var + eps) + bias; the gradient goes through the moments too,
    but those that are returned, of shape (slices, C), have none.

    Args:
        x: shape (N, C, ...).
        weight: shape (slices, C), or None for 1.
        bias: shape (slices, C), or None for 0.
        eps: added to the variance.
        bounds: first and end of each slice of the batch axis; none may have a single value.
    """
    if not kernels.has_kernels(x):
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
    """Batch-normalize each slice by moments that were measured before; return the output.

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
    if kernels.has_kernels(x):
        y: Tensor = _normalize(kernels.dense(x), weight, bias, mean, (var + eps).rsqrt(), bounds)
        return y
    parts = [
        F.batch_norm(x[first:end], None, None, weight[row], bias[row], True, 0.0, eps)
        for row, (first, end) in enumerate(bounds)
    ]
    return joined(parts)


def fixed_affine(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Batch-normalize by fixed tensors that get no gradient; `x` is not kept for backward.

    Args:
        x: shape (N, C, ...).
        mean: shape (C,), as are the others.
        var: the variance.
        weight: gamma, or None for 1.
        bias: beta, or None for 0.
        eps: added to the variance.
    """
    if not (torch.is_grad_enabled() and x.requires_grad) or not kernels.has_kernels(x):
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
        _, _, var, weight, _, ctx.eps = inputs
        ctx.save_for_backward(var, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # The same map without its shift; so that it has a gradient of its own.
        var, weight = ctx.saved_tensors
        zero = torch.zeros_like(var)
        dx = F.batch_norm(gradient, zero, var, weight, None, False, 0.0, ctx.eps)
        return dx, None, None, None, None, None


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
        gradients = kernels.batch_norm_backward(gradient, x, weight, mean, invstd, ctx.bounds)
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
        gradients = kernels.batch_norm_backward(gradient, x, weight, mean, invstd, ctx.bounds)
        return *gradients, None, None


_fix: Callable[..., Any] = _Fixed.apply
_normalize: Callable[..., Any] = _BatchNorm.apply
_measure_and_normalize: Callable[..., Any] = _MeasuredBatchNorm.apply
