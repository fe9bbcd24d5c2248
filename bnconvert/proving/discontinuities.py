"""Outputs that jump: where two numbers are nearly the same, rounding decides which is the larger.

The place of a maximum jumps, and so does what is read by it. A file may take the other side there,
but nothing else.
"""

from collections.abc import Iterable

import torch
from torch import Tensor


def nearest_own_output(
    mine: Tensor, truth: Tensor, draws: Iterable[Tensor], within: float
) -> Tensor:
    """Return the truth, with what the model itself gives where it jumps, if that is nearer.

    Args:
        mine: a file's output.
        truth: of the same shape.
        draws: the model's own outputs on perturbed inputs; those of other shapes are left out.
        within: relative to the root mean square of the truth; an entry that a draw moves by more
            jumps. Integers jump where they change at all.
    """
    finite = truth.double()[torch.isfinite(truth)]
    size = float(finite.square().mean().sqrt()) if finite.numel() else 0.0
    least = within * (size or 1.0) if truth.dtype.is_floating_point else 0.0
    jumps = torch.zeros(truth.shape, dtype=torch.bool)
    best, gap = truth, _gap(mine, truth)
    for draw in draws:
        if draw.shape == truth.shape:
            jumps |= _gap(draw, truth) > least
            distance = _gap(mine, draw)
            nearer = distance < gap
            best = torch.where(nearer, draw.to(truth.dtype), best)
            gap = torch.where(nearer, distance, gap)
    return torch.where(jumps, best, truth)


def _gap(first: Tensor, second: Tensor) -> Tensor:
    """Return the distance of each entry; what is no number on one side alone is infinitely far."""
    first, second = first.double(), second.double()
    gap = (first - second).abs()
    same = (first == second) | (first.isnan() & second.isnan())
    return torch.where(same, 0.0, gap.nan_to_num(nan=float("inf"), posinf=float("inf")))
