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
from bnconvert.measuring.feeding import Batch
from bnconvert.measuring.measured import Measured
from bnconvert.measuring.order import Order
from bnconvert.measuring.paging import Memory
from bnconvert.measuring.slots import Slot
from bnconvert.measuring.task import Outcome, Task, add, no_data
from bnconvert.measuring.visitor import Role, Visitor


@dataclass(frozen=True, eq=False)
class _Turn:
    """What a rank says in each round: where its batches wait, and whether it must start over."""

    batches: int
    repeat: bool
    waiting: dict[int, Measured]


class Layerwise:
    """The measurement; `run` it once."""

    def __init__(self, task: Task, memory: Memory) -> None:
        """Prepare to do `task` within `memory`."""
        self.task, self.memory = task, memory
        self.by_mean = task.by_mean
        self.order = Order()
        self.results: dict[int, Measured] = {}
        self.skipped: dict[int, str] = {}
        self.held: list[tuple[Batch, list[int]]] = []
        self.current: dict[int, Measured] = {}  # finished in this pass
        self.aside: frozenset[int] = frozenset()  # the inseparable slots that are not final
        self.later: frozenset[int] = frozenset()  # those of them, and others, that must wait

    def run(self, batches: Iterable[Batch]) -> Outcome:
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
        return Outcome(self.results, inseparable, self.skipped, passes)

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
        visitors: list[Visitor] = []
        self.current = {}
        self.aside = self.order.inseparable() - self.results.keys()
        self.later = self._behind(self.aside)
        try:
            for batch in batches:
                visitors.append(self._visitor(batch))
                self._advance(visitors[-1])
            if not self._rounds(visitors):
                self._learn(visitors)
                return False
        finally:
            for visitor in visitors:
                visitor.forward.cancel()
        for found in self.task.ranks.gather(_merged(pair for v in visitors for pair in v.aside)):
            add(self.current, found)
        for index in self.aside & self.current.keys():
            self.task.finish(self.task.slots[index], self.current[index])
        self.results |= self.current
        return not self.later or not self.current

    def _learn(self, visitors: Sequence[Visitor]) -> None:
        """Take note of the ways of those that came late, on all ranks."""
        own = [v.visited for v in visitors if v.is_late], len(self.skipped)
        shares = self.task.ranks.gather(own)
        new = [self.order.learn(sequences) for sequences, _ in shares]
        assert any(new) or any(skipped for _, skipped in shares), "a pass is repeated for a reason"

    def _rounds(self, visitors: Sequence[Visitor]) -> bool:
        """Finish slot after slot; tell whether the pass came to its end."""
        while True:
            live = [v for v in visitors if v.failure is None]
            local = _merged(v.waiting for v in live)
            repeat = any(v.is_late or (v.failure and len(v.visited) > 1) for v in visitors)
            turns = self.task.ranks.gather(_Turn(len(live), bool(repeat), local))
            if not sum(turn.batches for turn in turns):
                raise StatisticsError(no_data(self.skipped))
            if any(turn.repeat for turn in turns):
                return False
            waiting: dict[int, Measured] = {}
            for turn in turns:
                add(waiting, turn.waiting)
            if not waiting:
                return True
            slot = self.task.slots[self.order.first(waiting)]
            self.task.finish(slot, waiting[slot.index])
            self.current[slot.index] = waiting[slot.index]
            self.task.progress(len(self.results | self.current), len(self.task.slots), slot.path)
            for visitor in live:
                if visitor.waiting is not None and visitor.waiting[0] is slot:
                    self._advance(visitor)

    def _visitor(self, batch: Batch) -> Visitor:
        replica = replicate(self.task.model)

        def run() -> Any:
            self.task.call(replica, batch.value)

        return Visitor(batch, run, self.by_mean, self._role)

    def _advance(self, visitor: Visitor) -> None:
        with self.memory.running(visitor.batch.index):
            visitor.forward.resume()
        if visitor.failure is not None:
            self.skipped[visitor.batch.index] = visitor.failure
            visitor.forward.cancel()

    def _role(self, slot: Slot) -> Role:
        index = slot.index
        if index in self.results:
            return "final"
        if index in self.current:
            return "late"
        if index in self.later:
            return "later"
        return "aside" if index in self.aside else "wait"

    def _behind(self, blocking: frozenset[int]) -> frozenset[int]:
        """Return the slots that some forward reaches only behind `blocking` ones."""
        known = (s.index for s in self.task.slots if s.index not in self.results)
        before = self.order.precedes
        return frozenset(
            slot
            for slot in known
            if any(before(other, slot) and not before(slot, other) for other in blocking)
        )


def _merged(pairs: Iterable[tuple[Slot, Measured] | None]) -> dict[int, Measured]:
    total: dict[int, Measured] = {}
    for pair in pairs:
        if pair is not None:
            add(total, {pair[0].index: pair[1]})
    return total
