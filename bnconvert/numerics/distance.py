"""Relative errors between tensors: the root mean square error and the largest one."""

import math
from typing import Literal

import torch
from torch import Tensor

Measure = Literal["norm", "peak"]
MEASURES: tuple[Measure, ...] = ("norm", "peak")

#: Units in the last place that count as no error at all; of half precision so few are visible.
ULPS, COARSE_ULPS = 8, 2
#: The largest of many rounding errors is about so many times their root mean square.
PEAK = 4.0


def relative_errors(measured: Tensor, truth: Tensor) -> dict[Measure, float]:
    """Return the errors of `measured` relative to the root mean square of `truth`, by measure.

    Where that is zero, they are absolute. Values that are not finite in either are left out;
    `difference` reports them. For integers and booleans it is the share of entries that differ.

    Args:
        measured: any dtype.
        truth: the same shape; else the errors are infinite.

    Returns:
        "norm": the root mean square error; "peak": the largest one.
    """
    if measured.shape != truth.shape:
        return {"norm": math.inf, "peak": math.inf}
    if not truth.dtype.is_floating_point:
        share = float((measured != truth).double().mean()) if truth.numel() else 0.0
        return {"norm": share, "peak": share}
    truth, measured = truth.detach().double().reshape(-1), measured.detach().double().reshape(-1)
    gap = measured - truth
    squares = float(truth.dot(truth)), float(gap.dot(gap))
    if not math.isfinite(sum(squares)):
        finite = torch.isfinite(truth) & torch.isfinite(measured)
        truth, gap = truth[finite], gap[finite]
        squares = float(truth.dot(truth)), float(gap.dot(gap))
    if not gap.numel():
        return {"norm": 0.0, "peak": 0.0}
    size, error = (math.sqrt(square / gap.numel()) for square in squares)
    peak = max(abs(float(end)) for end in gap.aminmax())
    return {"norm": error / (size or 1.0), "peak": peak / (size or 1.0)}


def relative_error(measured: Tensor, truth: Tensor, measure: Measure) -> float:
    """Return one of the errors that `relative_errors` returns."""
    return relative_errors(measured, truth)[measure]


def rounding_error(dtype: torch.dtype, measure: Measure) -> float:
    """Return the relative error that rounding alone may cause in `dtype`."""
    if not dtype.is_floating_point:
        return 0.0
    ulps = ULPS if torch.finfo(dtype).bits >= 32 else COARSE_ULPS
    return ulps * float(torch.finfo(dtype).eps) * (PEAK if measure == "peak" else 1.0)


def difference(measured: Tensor, expected: Tensor) -> str:
    """Describe a difference in shape, dtype or places of NaN and infinity; "" for none."""
    if measured.shape != expected.shape:
        return f"shape {tuple(measured.shape)} for {tuple(expected.shape)}"
    if measured.dtype != expected.dtype:
        return f"{measured.dtype} for {expected.dtype}"
    if not expected.dtype.is_floating_point or (_is_finite(measured) and _is_finite(expected)):
        return ""
    if not torch.equal(_kinds(measured), _kinds(expected)):
        return "NaN or infinity at other places than the model's"
    return ""


def _is_finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value).all())


def _kinds(value: Tensor) -> Tensor:
    """Return 0 for finite numbers, and other numbers for NaN and for either infinity."""
    return value.isnan() + 2 * value.isposinf() + 3 * value.isneginf()


def bounded_rounding_error(truth: Tensor, dtype: torch.dtype, measure: Measure) -> float:
    """Return the relative error of rounding for a function bounded by 1, such as sigmoid.

    That is one unit in the last place of 1, relative to the root mean square of `truth`.
    """
    return _bounded_rounding_error(_size_of(truth), dtype, measure)


def _bounded_rounding_error(size: float, dtype: torch.dtype, measure: Measure) -> float:
    if not size or not dtype.is_floating_point:
        return 0.0
    return float(torch.finfo(dtype).eps) * (PEAK if measure == "peak" else 1.0) / size


def _size_of(truth: Tensor) -> float:
    """Return the root mean square of the finite numbers of a tensor; 0 where there are none."""
    if not truth.numel():
        return 0.0
    flat = truth.detach().double().reshape(-1)
    square = float(flat.dot(flat))
    if not math.isfinite(square):
        flat = flat[torch.isfinite(flat)]
        square = float(flat.dot(flat))
    return math.sqrt(square / flat.numel()) if flat.numel() else 0.0


def rounding_errors(truth: Tensor, dtype: torch.dtype, *, bounded: bool) -> dict[Measure, float]:
    """Return the relative errors that rounding alone may cause in a value, by measure.

    Args:
        truth: the value.
        dtype: what it is rounded to.
        bounded: whether a function bounded by 1, such as sigmoid, computed it.
    """
    size = _size_of(truth) if bounded else 0.0
    return {
        measure: rounding_error(dtype, measure) + _bounded_rounding_error(size, dtype, measure)
        for measure in MEASURES
    }
