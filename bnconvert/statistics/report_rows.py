"""Rows of a report: how far running statistics moved, and the standard error of the new ones."""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from bnconvert.reporting.records import StatisticsRow
from bnconvert.statistics.estimate import Estimate
from bnconvert.statistics.targets import SavedStatistics, StatisticsTarget


def statistics_rows(
    targets: Iterable[StatisticsTarget],
    before: SavedStatistics,
    estimates: Mapping[int, Estimate],
    inseparable: Collection[int],
    against: str,
) -> tuple[StatisticsRow, ...]:
    """Return a report's rows, one per target that was measured.

    Args:
        targets: with the new statistics in their buffers.
        before: the old statistics.
        estimates: what was measured, by target index.
        inseparable: the indices of targets that were measured over their calls.
        against: the name of the new statistics, such as "layerwise".
    """
    return tuple(
        _row(
            target,
            before[target],
            estimates[target.index],
            "over its calls, by mini-batches" if target.index in inseparable else "",
            against,
        )
        for target in targets
        if target.index in estimates
    )


def _row(
    target: StatisticsTarget, before: list[Tensor], estimate: Estimate, remark: str, against: str
) -> StatisticsRow:
    """Return the row of a target, from its statistics before and after."""
    mean, var = target.mean.double(), target.var.double()
    sigma = (var + target.eps).sqrt()
    old_sigma = (before[1].double() + target.eps).sqrt()
    mean_off = (before[0].double() - mean) / sigma
    return StatisticsRow(
        path=target.path,
        class_name=target.class_name,
        channels=len(mean),
        samples=estimate.samples,
        mean_distance=_root_mean_square(mean_off),
        deviation_distance=_root_mean_square(old_sigma / sigma - 1),
        standard_error=estimate.standard_error(),
        enough_samples=estimate.enough_samples(),
        against=against,
        remark=remark,
    )


def _root_mean_square(values: Tensor) -> float | None:
    """Return the root mean square; None where a value is not finite."""
    size = values.square().mean().sqrt()
    return float(size) if torch.isfinite(size) else None
