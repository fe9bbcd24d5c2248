"""Which norm's running statistics change the output most: tried one norm at a time."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bnconvert.statistics.batches import tensors_of
from bnconvert.statistics.targets import SavedStatistics, StatisticsTarget

#: Norms that are tried at most, those that are farthest off first.
MOST_NORMS = 8


def output_changes(
    targets: Sequence[StatisticsTarget], running: SavedStatistics, run: Callable[[], Any]
) -> dict[str, float]:
    """Return by how much the running statistics of each norm alone change the output.

    The targets hold precise statistics; one after the other gets its running ones back for one
    forward, all others being precise. The change is the root mean square of the difference over
    that of the output with precise statistics.

    Args:
        targets: the norms to try.
        running: their running statistics.
        run: runs the model on a batch and returns the output.

    Returns:
        The changes by path, the largest first; nothing where the output holds no numbers.
    """
    precise = _numbers(run())
    changes: dict[str, float] = {}
    for target in targets if precise.numel() else ():
        kept = target.mean.clone(), target.var.clone()
        try:
            target.set_values(*running[target][:2])
            changed = _numbers(run())
        finally:
            target.set_values(*kept)
        if changed.shape == precise.shape:
            size = float(precise.square().mean().sqrt())
            changes[target.path] = float((changed - precise).square().mean().sqrt()) / (size or 1.0)
    return dict(sorted(changes.items(), key=lambda pair: -pair[1]))


def _numbers(output: Any) -> Tensor:
    """Return all floating numbers of an output in a row, float64."""
    parts = [t.detach() for t in tensors_of(output) if t.is_floating_point()]
    flat = [part.to("cpu", torch.float64).flatten() for part in parts]
    return torch.cat(flat) if flat else torch.zeros(0, dtype=torch.float64, device="cpu")
