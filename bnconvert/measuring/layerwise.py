"""Layer by layer: each norm is measured while all earlier ones use their final statistics.

Done one norm at a time it costs a pass over the data for each. Here all batches are inside the
network at once: each stops at its next norm, and when all that will come have arrived, that
norm's moments over all of them are merged and written, and they go on. One forward of work
(Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3.2, for the statistics).

Where batches stand at different norms, the one finishes first to which no other leads, as far as
that is known; a batch that then comes late shows its way, and the pass is repeated knowing it. A
norm that comes before itself (called several times in one forward) has no place in any order: it
is measured over its calls, each normalized by its own mini-batch, and what comes behind it is
measured in one more pass.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bnconvert.copying import replicate
from bnconvert.errors import StatisticsError
from bnconvert.measuring.activation_paging import Memory
from bnconvert.measuring.batch_forward import BatchForward, Role
from bnconvert.measuring.batches import Batch
from bnconvert.measuring.estimate import Estimate
from bnconvert.measuring.reach_order import ReachOrder
from bnconvert.measuring.targets import StatisticsTarget
from bnconvert.measuring.task import Task, TaskResult, add, why_no_data


@dataclass(frozen=True, eq=False)
class _Turn:
    """What a rank says in each round: where its batches wait, and whether it must start over."""

    batches: int
    repeat: bool
    waiting: dict[int, Estimate]


class LayerwiseMeasurement:
    """The measurement; `run` it once."""

    def __init__(self, task: Task, memory: Memory) -> None:
        """Prepare to do `task` within `memory`."""
        self.task, self.memory = task, memory
        self.by_mean = task.by_mean
        self.order = ReachOrder()
        self.results: dict[int, Estimate] = {}
        self.skipped: dict[int, str] = {}
        self.held: list[tuple[Batch, list[int]]] = []
        self.current: dict[int, Estimate] = {}  # finished in this pass
        self.aside: frozenset[int] = frozenset()  # the inseparable targets that are not final
        self.later: frozenset[int] = frozenset()  # those of them, and others, that must wait

    def run(self, batches: Iterable[Batch]) -> TaskResult:
        """Measure; the buffers have the final statistics afterwards.

        Raises:
            StatisticsError: there is no usable data.
        """
        source: Iterable[Batch] = self._hold(batches)
        passes, complete = 0, False
        with self.memory:
            while not complete:
                passes += 1
                complete = self._pass(source)
                source = self._again()
        inseparable = self.order.inseparable() & self.results.keys()
        return TaskResult(self.results, inseparable, self.skipped, passes)

    def _hold(self, batches: Iterable[Batch]) -> Iterable[Batch]:
        for batch in batches:
            own = self.memory.own(batch)
            self.held.append((own, own.versions()))
            self.task.progress(len(self.held), None, "reading batches")
            yield own

    def _again(self) -> Iterable[Batch]:
        for batch, versions in self.held:
            if batch.index in self.skipped:
                continue
            if batch.versions() != versions:
                raise StatisticsError(
                    "the forward changes its input in place, and the data are needed once more; "
                    "give forward=lambda model, batch: model(batch.clone())"
                )
            yield batch

    def _pass(self, batches: Iterable[Batch]) -> bool:
        """Run all batches through once; tell whether nothing is left to measure."""
        forwards: list[BatchForward] = []
        self.current = {}
        self.aside = self.order.inseparable() - self.results.keys()
        self.later = self._behind(self.aside)
        try:
            for batch in batches:
                forwards.append(self._batch_forward(batch))
                self._advance(forwards[-1])
            if not self._rounds(forwards):
                self._learn(forwards)
                return False
        finally:
            for forward in forwards:
                forward.cancel()
        for found in self.task.ranks.gather(_merged(pair for v in forwards for pair in v.aside)):
            add(self.current, found)
        for index in self.aside & self.current.keys():
            self.task.finish(self.task.targets[index], self.current[index])
        self.results |= self.current
        return not self.later or not self.current

    def _learn(self, forwards: Sequence[BatchForward]) -> None:
        """Take note of the ways of those that came late, on all ranks."""
        own = [v.visited for v in forwards if v.is_late], len(self.skipped)
        shares = self.task.ranks.gather(own)
        new = [self.order.learn(sequences) for sequences, _ in shares]
        assert any(new) or any(skipped for _, skipped in shares), "a pass is repeated for a reason"

    def _rounds(self, forwards: Sequence[BatchForward]) -> bool:
        """Finish target after target; tell whether the pass came to its end."""
        while True:
            live = [v for v in forwards if v.failure is None]
            local = _merged(v.waiting for v in live)
            repeat = any(v.is_late or (v.failure and len(v.visited) > 1) for v in forwards)
            turns = self.task.ranks.gather(_Turn(len(live), bool(repeat), local))
            if not sum(turn.batches for turn in turns):
                raise StatisticsError(why_no_data(self.skipped))
            if any(turn.repeat for turn in turns):
                return False
            waiting: dict[int, Estimate] = {}
            for turn in turns:
                add(waiting, turn.waiting)
            if not waiting:
                return True
            target = self.task.targets[self.order.first(waiting)]
            self.task.finish(target, waiting[target.index])
            self.current[target.index] = waiting[target.index]
            self.task.progress(
                len(self.results | self.current), len(self.task.targets), target.path
            )
            for forward in live:
                if forward.waiting is not None and forward.waiting[0] is target:
                    self._advance(forward)

    def _batch_forward(self, batch: Batch) -> BatchForward:
        replica = replicate(self.task.model)

        def run() -> Any:
            self.task.call(replica, batch.value)

        return BatchForward(batch, run, self.by_mean, self._role)

    def _advance(self, forward: BatchForward) -> None:
        with self.memory.running(forward.batch.index):
            forward.resume()
        if forward.failure is not None:
            self.skipped[forward.batch.index] = forward.failure
            forward.cancel()

    def _role(self, target: StatisticsTarget) -> Role:
        index = target.index
        if index in self.results:
            return "final"
        if index in self.current:
            return "late"
        if index in self.later:
            return "later"
        return "aside" if index in self.aside else "wait"

    def _behind(self, blocking: frozenset[int]) -> frozenset[int]:
        """Return the targets that some forward reaches only behind `blocking` ones."""
        known = (s.index for s in self.task.targets if s.index not in self.results)
        before = self.order.precedes
        return frozenset(
            target
            for target in known
            if any(before(other, target) and not before(target, other) for other in blocking)
        )


def _merged(pairs: Iterable[tuple[StatisticsTarget, Estimate] | None]) -> dict[int, Estimate]:
    total: dict[int, Estimate] = {}
    for pair in pairs:
        if pair is not None:
            add(total, {pair[0].index: pair[1]})
    return total
