"""Batch norm by the moments of several processes' values, with one reduction each way."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from bnconvert.numerics import kernels
from bnconvert.numerics.kernels import statistics_dtype
from bnconvert.numerics.slices import slice_affine, slice_moments, whole

#: Adds up a tensor over all processes, in place, like `torch.distributed.all_reduce`.
Reduce = Callable[[Tensor], Any]


def reduced_batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, reduce: Reduce
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return batch norm by the moments of all processes; and their count, mean, biased variance.

    2C + 1 float64 numbers are reduced forward (count, sum of x and of x^2 per channel, whose
    cancellation in float64 is out of a float32 input's sight) and 2C backward. The moments that
    are returned have no gradient; the output's goes through them.

    Args:
        x: this process's values, shape (N, C, ...); N may be 0.
        weight: gamma, shape (C,), or None for 1.
        bias: beta, shape (C,), or None for 0.
        eps: added to the variance.
        reduce: called once in the forward and, where x needs a gradient, once in the backward.
    """
    if not kernels.has_kernels(x):
        y, count, mean, var = _composed(x, weight, bias, eps, reduce)
        return y, count, mean.detach(), var.detach()
    channels, dtype = x.shape[1], statistics_dtype(x)
    weight = x.new_ones(channels, dtype=dtype) if weight is None else weight.to(dtype)
    bias = x.new_zeros(channels, dtype=dtype) if bias is None else bias.to(dtype)
    apply: Callable[..., Any] = _ReducedBatchNorm.apply
    y, count, mean, var = apply(kernels.dense(x), weight, bias, eps, reduce)
    return y, count, mean, var


class _ReducedBatchNorm(Function):
    """Three passes backward where the composition of differentiable pieces needs five."""

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor, eps: float, reduce: Reduce
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        moments = kernels.measure(x, whole(x))
        count, mean, var = _reduced(*moments, _values(x), lambda values: _sum(values, reduce))
        scale = (weight * (var + eps).rsqrt()).to(weight.dtype)
        center = mean.to(weight.dtype)
        y = kernels.transform(x, center[None], scale[None], bias[None], whole(x))
        return y, count, mean, var

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, weight, bias, ctx.eps, ctx.reduce = inputs
        ctx.save_for_backward(x, weight, bias, *output[1:])
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, count, mean, var = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            y = _composed(x, weight, bias, ctx.eps, ctx.reduce)[0]
            wanted = [t for t in (x, weight, bias) if t.requires_grad]
            found = iter(torch.autograd.grad(y, wanted, gradient, create_graph=True))
            return (
                *(next(found) if t.requires_grad else None for t in (x, weight, bias)),
                None,
                None,
            )
        invstd = (var + ctx.eps).rsqrt()
        center = mean.to(weight.dtype)
        dot, total = kernels.sums_backward(gradient, x, center)
        dweight = (dot * invstd).to(weight.dtype)
        if not ctx.needs_input_grad[0]:
            return None, dweight, total, None, None
        # dx = weight * invstd * (g - sum(g) / n - x_hat * sum(g * x_hat) / n) over all processes.
        both = torch.stack([dot.double() * invstd, total.double()])
        ctx.reduce(both)
        both = both / count.clamp(min=1)
        scale = weight * invstd
        slope, shift = -scale * invstd * both[0], -scale * both[1]
        rows = [t.to(weight.dtype)[None] for t in (slope, shift, scale)]
        dx = kernels.transform(x, center[None], rows[0], rows[1], whole(x))
        if dx.dtype == weight.dtype:
            dx.addcmul_(gradient, rows[2].reshape(1, -1, *[1] * (x.dim() - 2)))
        else:  # the factors of half precision are in float32
            gradient = torch.empty_like(x).copy_(gradient)
            nothing = torch.zeros_like(rows[2])
            dx += kernels.transform(gradient, nothing, rows[2], None, whole(x))
        return dx, dweight, total, None, None


class _Sum(Function):
    """The sum over processes; its gradient is the sum of the processes' gradients."""

    @staticmethod
    def forward(values: Tensor, reduce: Reduce) -> Tensor:
        total = values.clone()
        reduce(total)
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Reduce], output: Tensor) -> None:
        ctx.reduce = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _sum(gradient, ctx.reduce), None


_sum: Callable[..., Tensor] = _Sum.apply


def _composed(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, reduce: Reduce
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the same by differentiable pieces, to any order, on any device."""
    moments = slice_moments(x, whole(x))
    count, mean, var = _reduced(*moments, _values(x), lambda values: _sum(values, reduce))
    scale = (var + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    shift = None if bias is None else bias[None]
    y = slice_affine(x, mean[None], scale[None], shift, whole(x))
    return y, count.detach(), mean, var


def _reduced(
    mean: Tensor, var: Tensor, n: int, add: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return count, mean and biased variance over all processes, from one process's rows."""
    mean, var = mean[0].double(), var[0].double()
    flat = torch.cat([mean.new_full((1,), n), n * mean, n * (var + mean.square())])
    flat = add(flat)
    count = flat[0].clone()
    mean, square = (flat[1:] / count.clamp(min=1)).reshape(2, -1).unbind()
    return count, mean, (square - mean.square()).clamp(min=0)


def _values(x: Tensor) -> int:
    return x.shape[0] * (x[0, 0].numel() if len(x) else 0)
