"""One pass in which each norm normalizes by its own mini-batch, as in training.

Aggregate: the population moments of all batches together, pooled exactly, whatever the batches'
sizes (Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3.2). EMA: the average
that training keeps, running = (1 - m) * running + m * batch with the norm's momentum m, over a
model that does not move ("Devils in BatchNorm", slide 20); from the first batch on where the old
statistics are not finite.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from bnconvert.copying import replicate
from bnconvert.errors import StatisticsError
from bnconvert.measuring.feeding import Batch
from bnconvert.measuring.interception import Interception
from bnconvert.measuring.measured import Measured, measure
from bnconvert.measuring.slots import Slot
from bnconvert.measuring.task import Outcome, Task, add, no_data
from bnconvert.measuring.visitor import why_unusable

Average = Literal["aggregate", "ema"]


class MiniBatches:
    """The measurement; `run` it once."""

    def __init__(self, task: Task, average: Average) -> None:
        """Prepare to do `task`."""
        self.task = task
        self.average = average
        self.by_mean = task.by_mean
        self.before = {s.index: (s.mean.clone(), s.var.clone()) for s in self.task.slots}
        self.moving: dict[int, tuple[Tensor, Tensor]] = {}
        self.updates: dict[int, int] = {}
        self.found: list[tuple[Slot, Measured]] = []
        self.failure: str | None = None
        self.seen = 0

    def run(self, batches: Iterable[Batch]) -> Outcome:
        """Measure; the buffers have the final statistics afterwards.

        Raises:
            StatisticsError: there is no usable data.
        """
        replica = replicate(self.task.model)
        results: dict[int, Measured] = {}
        skipped: dict[int, str] = {}
        for batch in batches:
            self.found, self.failure, self.seen = [], None, batch.seen
            with Interception(self.by_mean, self._arrive):
                self.task.call(replica, batch.value)
            if self.failure is not None:
                skipped[batch.index] = self.failure
                continue
            for slot, found in self.found:
                add(results, {slot.index: found})
                self._move(slot, found)
            self.task.progress(batch.index + 1, None, self.average)
        shares, results = self.task.ranks.gather(results), {}
        for share in shares:
            add(results, share)
        if not results:
            raise StatisticsError(no_data(skipped))
        for slot in self.task.slots:
            slot.put(*self.before[slot.index])
            if slot.index in results:
                self._finish(slot, results[slot.index])
        return Outcome(results, skipped=skipped)

    def _arrive(self, slot: Slot, x: Tensor) -> None:
        found = measure(x, self.seen)
        self.failure = self.failure or _place(why_unusable(found, alone=True), slot)
        if self.failure is None and found.batches:
            self.found.append((slot, found))
            slot.put(found.moments.mean, found.moments.biased_variance())

    def _move(self, slot: Slot, found: Measured) -> None:
        """Let the moving average take one step."""
        if self.average != "ema":
            return
        old = self.moving.get(slot.index) or tuple(b.double() for b in self.before[slot.index])
        count = self.updates[slot.index] = self.updates.get(slot.index, 0) + 1
        share = 1 / count if slot.momentum is None else slot.momentum
        if not all(bool(torch.isfinite(tensor).all()) for tensor in old):
            share = 1.0
        new = found.moments.mean.to(old[0]), found.variance(self.task.variance).to(old[1])
        if share == 1.0:  # 0 * NaN would stay NaN
            self.moving[slot.index] = new
        else:
            mean, var = (torch.lerp(o, n, share) for o, n in zip(old, new, strict=True))
            self.moving[slot.index] = mean, var

    def _finish(self, slot: Slot, found: Measured) -> None:
        if self.average == "aggregate":
            self.task.finish(slot, found)
            return
        slot.write(*self.moving[slot.index])
        if slot.counter is not None:
            slot.counter.add_(self.updates[slot.index])


def _place(reason: str | None, slot: Slot) -> str | None:
    return reason and f"{reason} at {slot.path}"
