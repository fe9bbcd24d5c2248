"""Mini-batches: measure in one pass in which each norm normalizes by its batch, as in training.

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

from bnconvert.errors import StatisticsError
from bnconvert.modules.copies.copying import replicate
from bnconvert.statistics.batch_forward import why_unusable
from bnconvert.statistics.batches import Batch
from bnconvert.statistics.estimate import Estimate, measure
from bnconvert.statistics.targets import StatisticsTarget
from bnconvert.statistics.task import UNREACHED, Task, TaskResult, merge_into, why_no_data

Average = Literal["aggregate", "ema"]


class MiniBatchMeasurement:
    """The measurement of all targets of a task by mini-batches; `run` it once."""

    def __init__(self, task: Task, average: Average) -> None:
        """Prepare to measure.

        Args:
            task: what to measure.
            average: "aggregate" for all batches alike, "ema" for a moving average.
        """
        self.task = task
        self.average = average
        self.before = {t.index: (t.mean.clone(), t.var.clone()) for t in self.task.targets}
        self.moving: dict[int, tuple[Tensor, Tensor]] = {}
        self.updates: dict[int, int] = {}
        self.estimates: list[tuple[StatisticsTarget, Estimate]] = []
        self.failure: str | None = None
        self.batch: Batch | None = None

    def run(self, batches: Iterable[Batch]) -> TaskResult:
        """Measure; the buffers have the final statistics afterwards.

        Raises:
            StatisticsError: there is no usable data.
        """
        replica = replicate(self.task.model)
        intercept = self.task.interceptor(replica)
        results: dict[int, Estimate] = {}
        skipped: dict[int, str] = {}
        for batch in batches:
            self.estimates, self.failure, self.batch = [], None, batch
            with intercept(self._arrive):
                self.task.call(replica, batch.value)
            if self.failure is not None or not self.estimates:
                skipped[batch.index] = self.failure or UNREACHED
                continue
            for target, estimate in self.estimates:
                merge_into(results, {target.index: estimate})
                self._update_average(target, estimate)
            self.task.progress(batch.index + 1, None, self.average)
        shares, results = self.task.ranks.gather(results), {}
        for share in shares:
            merge_into(results, share)
        if not results and not any(why == UNREACHED for why in skipped.values()):
            raise StatisticsError(why_no_data(skipped))
        for target in self.task.targets:
            target.set_values(*self.before[target.index])
            if target.index in results:
                self._finish(target, results[target.index])
        return TaskResult(results, skipped=skipped)

    def _arrive(self, target: StatisticsTarget, x: Tensor) -> None:
        """Estimate the statistics of a batch at a target, and let it normalize by these."""
        assert self.batch is not None
        self.batch.note_arrival(target, x)
        estimate = measure(x, self.batch.seen)
        reason = why_unusable(estimate, by_itself=True)
        self.failure = self.failure or (reason and f"{reason} at {target.path}")
        if self.failure is None and estimate.batches:
            self.estimates.append((target, estimate))
            target.set_values(estimate.moments.mean, estimate.moments.biased_variance())

    def _update_average(self, target: StatisticsTarget, estimate: Estimate) -> None:
        """Update the moving average by one batch, as training does."""
        if self.average != "ema":
            return
        old = self.moving.get(target.index) or tuple(b.double() for b in self.before[target.index])
        count = self.updates[target.index] = self.updates.get(target.index, 0) + 1
        share = 1 / count if target.momentum is None else target.momentum
        if not all(bool(torch.isfinite(tensor).all()) for tensor in old):
            share = 1.0
        new = estimate.moments.mean.to(old[0]), estimate.variance(self.task.variance).to(old[1])
        if share == 1.0:  # 0 * NaN would stay NaN
            self.moving[target.index] = new
        else:
            mean, var = (torch.lerp(o, n, share) for o, n in zip(old, new, strict=True))
            self.moving[target.index] = mean, var

    def _finish(self, target: StatisticsTarget, estimate: Estimate) -> None:
        """Write a target's final statistics, by the average that was asked for."""
        if self.average == "aggregate":
            self.task.write_statistics(target, estimate)
            return
        target.set_final(*self.moving[target.index])
        if target.counter is not None:
            target.counter.add_(self.updates[target.index])
