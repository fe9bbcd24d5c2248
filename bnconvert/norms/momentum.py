"""The momentum with which norms average: set for all norms of a model, or for micro-batches.

running = (1 - momentum) * running + momentum * batch, which is torch's convention (Ioffe and
Szegedy, "Batch Normalization", 2015, algorithm 2, leave the average open).
"""

from collections.abc import Iterator
from typing import Any

from torch import nn

from bnconvert.modules.kinds import kind_of


def set_momentum(model: nn.Module, momentum: float | None) -> None:
    """Set the momentum of every norm that tracks running statistics, in place.

    For schedules: call it before an epoch or a step. It reaches torch's batch norms and those of
    bnconvert, which a loop over torch's `_BatchNorm` does not. Frozen norms keep the momentum that
    they go on with once they are reverted.

    Args:
        model: in any mode; wrapped (DDP, torch.compile) too.
        momentum: torch's, the share of the new value, between 0 and 1; None averages all batches.

    Raises:
        ValueError: it is not between 0 and 1.

    Examples:
        >>> model = nn.Sequential(nn.BatchNorm1d(4), bnc.convert(nn.BatchNorm1d(4), bnc.Ghost(8)))
        >>> for epoch in range(3):
        ...     bnc.set_momentum(model, 0.1 / (1 + epoch))
        >>> [round(norm.momentum, 3) for norm in model]
        [0.033, 0.033]
    """
    if momentum is not None:
        _require_share(momentum)
    for _, norm in _averaging(model):
        norm.momentum = momentum


def accumulated_momentum(momentum: float, steps: int) -> float:
    """Return the momentum with which `steps` updates have the effect of one with `momentum`.

    1 - (1 - momentum)^(1 / steps), since the old value keeps the share (1 - momentum) each time.

    Args:
        momentum: torch's, the share of the new value.
        steps: micro-batches per optimizer step.

    Raises:
        ValueError: `steps` is less than 1, or `momentum` not between 0 and 1.

    Examples:
        >>> round(bnc.accumulated_momentum(0.1, steps=8), 4)
        0.0131
    """
    if steps < 1:
        raise ValueError(f"accumulate is {steps}; use the number of micro-batches, 1 or more")
    _require_share(momentum)
    return float(1 - (1 - momentum) ** (1 / steps))


def set_accumulated_momentum(model: nn.Module, steps: int) -> Iterator[str]:
    """Adapt the momentum of every norm that tracks statistics; yield notes for the user.

    Args:
        model: changed in place.
        steps: micro-batches per optimizer step.
    """
    if steps == 1:
        return
    cumulative = []
    for path, norm in _averaging(model):
        if norm.momentum is None:
            cumulative.append(path or "(root)")
        else:
            norm.momentum = accumulated_momentum(float(norm.momentum), steps)
    yield (
        f"momentum was adapted to {steps} micro-batches per optimizer step; each micro-batch is "
        "still normalized by itself: use Frozen(), Group() or Sync() where it is too small"
    )
    if cumulative:
        yield f"{', '.join(cumulative)}: momentum=None averages all micro-batches and is unchanged"


def _averaging(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield path and module of every norm that has a momentum, those of other domains too."""
    for path, module in model.named_modules():
        kind = kind_of(module)
        if kind is not None and not kind.has_fixed_statistics and hasattr(module, "momentum"):
            yield path, module


def _require_share(momentum: float) -> None:
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum is {momentum}; use torch's convention, between 0 and 1")
