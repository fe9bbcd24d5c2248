"""Batch norm of slices that share their moments with other processes or with each other."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from bnconvert.numerics import kernels
from bnconvert.numerics.kernels import Bounds, statistics_dtype, values_per_sample
from bnconvert.numerics.slices import slice_affine, slice_moments

#: Replaces each slice's row, in place, by the sum of the rows that it shares its moments with;
#: shape (slices, numbers). Over processes it is `torch.distributed.all_reduce`.
Reduce = Callable[[Tensor], Any]


def reduced_batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    bounds: Bounds,
    reduce: Reduce,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Batch-normalize by shared moments; return output, count, mean and biased variance.

    2C + 1 float64 numbers of each slice are reduced forward (count, sum of x and of x^2 per
    channel, whose cancellation in float64 is out of a float32 input's sight) and 2C backward.
    The moments that are returned, of shape (slices, 1) and (slices, C), have no gradient; the
    output's goes through them.

    Args:
        x: this process's values, shape (N, C, ...); N may be 0.
        weight: gamma, shape (slices, C), or None for 1.
        bias: beta, shape (slices, C), or None for 0.
        eps: added to the variance.
        bounds: first and end of each slice of the batch axis.
        reduce: called once in the forward and, where x needs a gradient, once in the backward.
    """
    if not kernels.has_kernels(x):
        y, count, mean, var = _composed(x, weight, bias, eps, bounds, reduce)
        return y, count, mean.detach(), var.detach()
    dtype, shape = statistics_dtype(x), (len(bounds), x.shape[1])
    weight = x.new_ones(shape, dtype=dtype) if weight is None else weight.to(dtype)
    bias = x.new_zeros(shape, dtype=dtype) if bias is None else bias.to(dtype)
    apply: Callable[..., Any] = _ReducedBatchNorm.apply
    y, count, mean, var = apply(kernels.dense(x), weight, bias, eps, bounds, reduce)
    return y, count, mean, var


class _ReducedBatchNorm(Function):
    """Three passes backward where the composition of differentiable pieces needs five."""

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor, eps: float, bounds: Bounds, reduce: Reduce
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        count, mean, var = _reduced(*kernels.measure(x, bounds), x, bounds, reduce)
        scale = (weight * (var + eps).rsqrt()).to(weight.dtype)
        y = kernels.transform(x, mean.to(weight.dtype), scale, bias, bounds)
        return y, count, mean, var

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, weight, bias, *ctx.settings = inputs
        ctx.save_for_backward(x, weight, bias, *output[1:])
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, count, mean, var = ctx.saved_tensors
        eps, bounds, reduce = ctx.settings
        if torch.is_grad_enabled():  # for a gradient of this gradient
            y = _composed(x, weight, bias, *ctx.settings)[0]
            inputs = [t for t in (x, weight, bias) if t.requires_grad]
            found = iter(torch.autograd.grad(y, inputs, gradient, create_graph=True))
            three = (next(found) if t.requires_grad else None for t in (x, weight, bias))
            return *three, None, None, None
        invstd = (var + eps).rsqrt()
        center = mean.to(weight.dtype)
        dot, total = kernels.sums_backward(gradient, x, center, bounds)
        dweight, dx = (dot * invstd).to(weight.dtype), None
        if ctx.needs_input_grad[0]:
            # dx = weight * invstd * (g - sum(g) / n - x_hat * sum(g * x_hat) / n), shared sums.
            both = torch.cat([dot.double() * invstd, total.double()], 1)
            along, across = (_sum(both, reduce) / count.clamp(min=1)).chunk(2, 1)
            scale = weight * invstd
            wide = (-scale * invstd * along, -scale * across, scale)
            slope, shift, scale = (rows.to(weight.dtype) for rows in wide)
            dx = _added(gradient, x, center, slope, shift, scale, bounds)
        return dx, dweight, total, None, None, None


def _added(
    gradient: Tensor,
    x: Tensor,
    center: Tensor,
    slope: Tensor,
    shift: Tensor,
    scale: Tensor,
    bounds: Bounds,
) -> Tensor:
    """Return (x - center) * slope + shift + gradient * scale, each slice by its row."""
    if not kernels.has_kernels(gradient):
        scaled = slice_affine(gradient, torch.zeros_like(scale), scale, None, bounds)
        return slice_affine(x, center, slope, shift, bounds) + scaled
    dx = kernels.transform(x, center, slope, shift, bounds)
    if dx.dtype != scale.dtype:  # the factors of half precision are in float32
        gradient = torch.empty_like(x).copy_(gradient)
        return dx.add_(kernels.transform(gradient, torch.zeros_like(scale), scale, None, bounds))
    if len(bounds) > 1:
        sizes = torch.tensor([end - first for first, end in bounds], device=scale.device)
        scale = scale.repeat_interleave(sizes, dim=0)
    return dx.addcmul_(gradient, scale.reshape(*scale.shape, *[1] * (x.dim() - 2)))


class _Sum(Function):
    """The shared sums; their gradient is the shared sum of the gradients."""

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

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return _sum(tangent, ctx.reduce)

    @staticmethod
    def vmap(
        info: Any, axes: tuple[int | None, None], values: Tensor, reduce: Reduce
    ) -> tuple[Tensor, int | None]:
        return _sum(values, reduce), axes[0]  # a sum over processes is one of each number


_sum: Callable[..., Tensor] = _Sum.apply


def _composed(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    bounds: Bounds,
    reduce: Reduce,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the same by differentiable pieces, to any order, on any device."""
    count, mean, var = _reduced(*slice_moments(x, bounds), x, bounds, reduce)
    scale = (var + eps).rsqrt()
    y = slice_affine(x, mean, scale if weight is None else scale * weight, bias, bounds)
    return y, count.detach(), mean, var


def _reduced(
    mean: Tensor, var: Tensor, x: Tensor, bounds: Bounds, reduce: Reduce
) -> tuple[Tensor, Tensor, Tensor]:
    """Return count, mean and biased variance of what each slice shares, from its own."""
    positions = values_per_sample(x)
    counts = [[float((end - first) * positions)] for first, end in bounds]
    mean, var = mean.double(), var.double()
    n = torch.tensor(counts, dtype=torch.float64, device=x.device)
    flat = _sum(torch.cat([n, n * mean, n * (var + mean.square())], 1), reduce)
    count = flat[:, :1].clone()
    mean, square = (flat[:, 1:] / count.clamp(min=1)).chunk(2, 1)
    return count, mean, (square - mean.square()).clamp(min=0)
