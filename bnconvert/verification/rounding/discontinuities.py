"""Discontinuous outputs: where two numbers nearly tie, rounding decides which is larger.

The position of a maximum is such an output, and so is a value that is read at it. Near a tie, a
file may give what the model gives on either side, but nothing else.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def nearest_model_output(
    output: Tensor, truth: Tensor, perturbed: Iterable[Tensor], within: float
) -> Tensor:
    """Return the truth, but in discontinuous entries the model's value nearest to the file's.

    Args:
        output: the file's output.
        truth: the model's output, of the same shape.
        perturbed: the model's outputs on perturbed inputs; those of other shapes are left out.
        within: how far a perturbation may change a continuous entry, relative to the root mean
            square of the truth. An integer is discontinuous where it changes at all.
    """
    finite = truth.double()[torch.isfinite(truth)]
    size = float(finite.square().mean().sqrt()) if finite.numel() else 0.0
    least = within * (size or 1.0) if truth.dtype.is_floating_point else 0.0
    discontinuous = torch.zeros(truth.shape, dtype=torch.bool, device="cpu")
    best, gap = truth, _gap(output, truth)
    for value in perturbed:
        if value.shape == truth.shape:
            discontinuous |= _gap(value, truth) > least
            distance = _gap(output, value)
            nearer = distance < gap
            best = torch.where(nearer, value.to(truth.dtype), best)
            gap = torch.where(nearer, distance, gap)
    return torch.where(discontinuous, best, truth)


def beyond(output: Tensor, truth: Tensor, runs: Sequence[Tensor], times: float) -> Tensor:
    """Return the truth plus what is left of each of the file's errors beyond the model's own.

    Args:
        output: the file's output.
        truth: the model's output, of the same shape.
        runs: the model's outputs on perturbed inputs, of the same shape.
        times: how many times the largest change in any of them counts as the model's own.
    """
    own = times * max(float(_gap(run, truth).max()) for run in runs)
    error = output.double() - truth.double()
    return truth.double() + error.sign() * (error.abs() - own).clamp(min=0.0)


def _gap(first: Tensor, second: Tensor) -> Tensor:
    """Return the distance of each entry; it is infinite where only one of both is NaN."""
    first, second = first.double(), second.double()
    gap = (first - second).abs()
    same = (first == second) | (first.isnan() & second.isnan())
    return torch.where(same, 0.0, gap.nan_to_num(nan=float("inf"), posinf=float("inf")))
