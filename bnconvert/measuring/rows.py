"""The rows of a report: how far statistics moved, and how sure the new ones are."""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from bnconvert.measuring.measured import Measured
from bnconvert.measuring.slots import Saved, Slot
from bnconvert.reporting.records import StatisticsRow


def rows_of(
    slots: Iterable[Slot],
    before: Saved,
    found: Mapping[int, Measured],
    inseparable: Collection[int],
    against: str,
) -> tuple[StatisticsRow, ...]:
    """Return one row per slot that was measured.

    Args:
        slots: with the new statistics in their buffers.
        before: the old statistics.
        found: what was measured, by slot index.
        inseparable: the indices of slots that were measured over their calls.
        against: what the new statistics are, such as "layerwise".
    """
    return tuple(
        _row(
            slot,
            before[slot],
            found[slot.index],
            "over its calls, by mini-batches" if slot.index in inseparable else "",
            against,
        )
        for slot in slots
        if slot.index in found
    )


def _row(
    slot: Slot, before: list[Tensor], found: Measured, remark: str, against: str
) -> StatisticsRow:
    mean, var = slot.mean.double(), slot.var.double()
    sigma = (var + slot.eps).sqrt()
    old_sigma = (before[1].double() + slot.eps).sqrt()
    mean_off = (before[0].double() - mean) / sigma
    return StatisticsRow(
        path=slot.path,
        class_name=slot.class_name,
        channels=len(mean),
        samples=found.samples,
        mean_distance=_size(mean_off),
        deviation_distance=_size(old_sigma / sigma - 1),
        standard_error=found.standard_error(),
        enough_samples=found.enough_samples(),
        against=against,
        remark=remark,
    )


def _size(values: Tensor) -> float | None:
    """Return the root mean square; None where a value is not finite."""
    size = values.square().mean().sqrt()
    return float(size) if torch.isfinite(size) else None
