"""torch's own CPU batch norm kernels, called on consecutive slices of a batch, without autograd.

A slice of a contiguous (or channels_last) batch is contiguous too, so that nothing is copied and
every kernel writes into its part of one output.
"""

import math

import torch
from torch import Tensor

from bnconvert.torch_private.function_transforms import is_transformed

#: (first, end) of each slice of the batch axis, in order, together the whole batch.
Bounds = tuple[tuple[int, int], ...]

_aten = torch.ops.aten
#: torch adds up channels_last in float32, serially; so many rows lose nothing that matters.
_ROWS = 2048


def statistics_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of the moments of `x`: float64 for float64, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def values_per_sample(x: Tensor) -> int:
    """Return how many values of each channel a sample of `x`, shape (N, C, ...), has."""
    return math.prod(x.shape[2:])


def has_kernels(x: Tensor, *others: Tensor) -> bool:
    """Tell whether these kernels apply: on the CPU, not under a compiler, a trace or `torch.func`.

    Args:
        x: the batch.
        *others: whatever else may be a batch of gradients.
    """
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if torch.compiler.is_compiling() or traced:
        return False
    return x.device.type == "cpu" and not is_transformed(x, *others)


def dense(x: Tensor) -> Tensor:
    """Return `x` in a memory format of which a slice of the batch is contiguous."""
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x
    if x.dim() == 5 and x.is_contiguous(memory_format=torch.channels_last_3d):
        return x
    return x.contiguous()


def measure(x: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each slice, shape (slices, C); 0 for an empty slice."""
    if len(bounds) == 1:
        mean, var = _measure_one(x)
        return mean.unsqueeze(0), var.unsqueeze(0)
    measured = [_measure_one(x[first:end]) for first, end in bounds]
    means, variances = zip(*measured, strict=True)
    return torch.stack(means), torch.stack(variances)


def transform(
    x: Tensor, center: Tensor, scale: Tensor, shift: Tensor | None, bounds: Bounds
) -> Tensor:
    """Return (x - center) * scale + shift, each slice by its row of the (slices, C) arguments."""
    y = torch.empty_like(x)
    one, unused = torch.ones_like(center[0]), center.new_empty(0)
    for row, (first, end) in enumerate(bounds):
        if not x[first:end].numel():
            continue
        _aten.native_batch_norm.out(
            x[first:end],
            scale[row],
            None if shift is None else shift[row],
            center[row],
            one,
            False,
            0.0,
            0.0,
            out=y[first:end],
            save_mean=unused,
            save_invstd=unused,
        )
    return y


def batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, bounds: Bounds
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Batch-normalize each slice by its own moments, in one call while it is in the cache.

    Returns:
        The output, and mean, biased variance and 1 / sqrt(var + eps) of each slice, (slices, C).
    """
    if not all(_adds_in_double(x[first:end]) for first, end in bounds):
        mean, var = measure(x, bounds)
        invstd = (var + eps).rsqrt()
        return transform(x, mean, weight * invstd, bias, bounds), mean, var, invstd
    y = torch.empty_like(x)
    found = weight.new_zeros(4, *weight.shape)
    mean, spread, again, invstd = found.unbind()
    positions = values_per_sample(x)
    for row, (first, end) in enumerate(bounds):
        if not x[first:end].numel():
            continue
        _aten.native_batch_norm.out(
            x[first:end],
            weight[row],
            bias[row],
            mean[row],
            spread[row],
            True,
            1.0,
            eps,
            out=y[first:end],
            save_mean=again[row],
            save_invstd=invstd[row],
        )
        count = (end - first) * positions
        spread[row] *= (count - 1) / count  # the running variance that it keeps is unbiased
    return y, mean, spread, invstd


def _adds_in_double(x: Tensor) -> bool:
    """Tell whether torch's own sums are exact enough: in double, or over few rows."""
    return (x.dim() > 2 and x.is_contiguous()) or x.numel() <= _ROWS * x.shape[1]


def batch_norm_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, mean: Tensor, invstd: Tensor, bounds: Bounds
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of `batch_norm` for x, weight and bias, also through the moments.

    torch differentiates them once more where gradients are recorded.

    Args:
        gradient: of the output.
        x: the input.
        weight: shape (slices, C).
        mean: shape (slices, C).
        invstd: 1 / sqrt(var + eps), shape (slices, C).
        bounds: first and end of each slice.
    """
    parts, rows = [], []
    in_parts = len(bounds) == 1 or torch.is_grad_enabled() or is_transformed(gradient)
    whole = None if in_parts else torch.empty_like(x)
    for row, (first, end) in enumerate(bounds):
        inputs = gradient[first:end], x[first:end], weight[row]
        if inputs[1].numel():
            measured = (None, None, mean[row], invstd[row], True)
            dx, *sums = _aten.native_batch_norm_backward(*inputs, *measured, 0.0, [True] * 3)
        else:  # of which the operator divides by the size
            dx, *sums = inputs[1] * 0, *torch.zeros_like(weight[row]).expand(2, -1)
        rows.append(sums)
        if whole is None:
            parts.append(dx)
        else:  # while it is still in the cache
            whole[first:end] = dx
    if whole is None:
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
    if len(rows) == 1:
        return whole, rows[0][0].unsqueeze(0), rows[0][1].unsqueeze(0)
    dweight, dbias = zip(*rows, strict=True)
    return whole, torch.stack(dweight), torch.stack(dbias)


def sums_backward(
    gradient: Tensor, x: Tensor, center: Tensor, bounds: Bounds
) -> tuple[Tensor, Tensor]:
    """Return each slice's sums of gradient * (x - center) and of the gradient, (slices, C)."""
    one, unused = torch.ones_like(center[0]), center.new_empty(0)
    rows = []
    for row, (first, end) in enumerate(bounds):
        inputs = gradient[first:end], x[first:end], one
        if not inputs[1].numel():
            rows.append(torch.zeros_like(center[row]).expand(2, -1).unbind())
            continue
        constant = (center[row], one, unused, unused, False)
        mask = [False, True, True]
        rows.append(_aten.native_batch_norm_backward(*inputs, *constant, 0.0, mask)[1:])
    dots, totals = zip(*rows, strict=True)
    return torch.stack(dots), torch.stack(totals)


def _measure_one(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of one slice, added up exactly enough."""
    if not x.numel():
        nothing = x.new_zeros(x.shape[1], dtype=statistics_dtype(x))
        return nothing, nothing
    if _adds_in_double(x):
        return _updated(x)
    # Rows of memory are as well rows of several pixels: each then has sums of its own, over fewer
    # rows, in one call, and these are merged in float64.
    rows = x.movedim(1, -1).reshape(-1, x.shape[1])
    pixels = -(-len(rows) // _ROWS)
    whole = len(rows) // pixels
    wide = _updated(rows[: pixels * whole].view(whole, -1))
    mean, var = (values.view(pixels, -1).double() for values in wide)
    mean, var = mean.mean(0), (var + (mean - mean.mean(0)).square()).mean(0)
    rest = len(rows) - pixels * whole
    if rest:
        other, spread = (values.double() for values in _updated(rows[pixels * whole :]))
        share, delta = rest / len(rows), other - mean
        var = (1 - share) * var + share * spread + share * (1 - share) * delta.square()
        mean = mean + share * delta
    dtype = statistics_dtype(x)
    return mean.to(dtype), var.to(dtype)


def _updated(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance; those of half precision are in float32."""
    scratch = x.new_zeros(2, x.shape[1], dtype=statistics_dtype(x))
    mean, var = torch.batch_norm_update_stats(x, scratch[0], scratch[1], 1.0)
    return mean, var
