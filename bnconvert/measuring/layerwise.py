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
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from torch import nn

from bnconvert.errors import StatisticsError
from bnconvert.measuring.feeding import Batch, Call
from bnconvert.measuring.measured import Measured
from bnconvert.measuring.order import Order
from bnconvert.measuring.paging import Memory
from bnconvert.measuring.ranks import Ranks
from bnconvert.measuring.replicas import replica
from bnconvert.measuring.slots import Slot, Slots
from bnconvert.measuring.visitor import Role, Visitor
from bnconvert.progress import Progress


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a way of measuring found.

    Attributes:
        results: by slot index, what was measured.
        inseparable: slots that were measured over their calls.
        skipped: by batch index, why a batch did not count.
        passes: how many forwards over the data were run.
    """

    results: dict[int, Measured]
    inseparable: frozenset[int] = frozenset()
    skipped: dict[int, str] = field(default_factory=dict)
    passes: int = 1


@dataclass(frozen=True, eq=False)
class _Turn:
    """What a rank says in each round: where its batches wait, and whether it must start over."""

    batches: int
    repeat: bool
    waiting: dict[int, Measured]


class Layerwise:
    """The measurement; `run` it once."""

    def __init__(
        self,
        model: nn.Module,
        slots: Slots,
        call: Call,
        *,
        ranks: Ranks,
        variance: str,
        memory: Memory,
        progress: Progress,
    ) -> None:
        """Prepare to measure `slots` of `model`, which `call` feeds with batches."""
        self.model, self.slots, self.call = model, slots.measured, call
        self.ranks, self.variance = ranks, variance
        self.memory, self.progress = memory, progress
        self.by_mean = {id(slot.mean): slot for slot in self.slots}
        self.order = Order()
        self.results: dict[int, Measured] = {}
        self.skipped: dict[int, str] = {}
        self.held: list[tuple[Batch, list[int]]] = []
        self.current: dict[int, Measured] = {}  # finished in this pass

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
            self.progress(len(self.held), None, "reading batches")
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
        try:
            for batch in batches:
                visitors.append(self._visitor(batch))
                self._advance(visitors[-1])
            if not self._rounds(visitors):
                sequences = [v.visited for v in visitors if v.is_late]
                new = [self.order.learn(s) for s in self.ranks.gather(sequences)]
                assert any(new) or self.skipped, "a pass is repeated only for something new"
                return False
        finally:
            for visitor in visitors:
                visitor.forward.cancel()
        for found in self.ranks.gather(_merged(v.aside for v in visitors)):
            _add(self.current, found)
        for index in self._unfinished() & self.current.keys():
            self._write(self.slots[index], self.current[index])
        waits = self._deferred()  # for the inseparable ones that have just been written
        self.results |= self.current
        return not waits or not self.current

    def _rounds(self, visitors: Sequence[Visitor]) -> bool:
        """Finish slot after slot; tell whether the pass came to its end."""
        while True:
            live = [v for v in visitors if v.failure is None]
            local = _merged([v.waiting] for v in live if v.waiting is not None)
            repeat = any(v.is_late or (v.failure and len(v.visited) > 1) for v in visitors)
            turns = self.ranks.gather(_Turn(len(live), bool(repeat), local))
            if not sum(turn.batches for turn in turns):
                raise StatisticsError(no_data(self.skipped))
            if any(turn.repeat for turn in turns):
                return False
            waiting: dict[int, Measured] = {}
            for turn in turns:
                _add(waiting, turn.waiting)
            if not waiting:
                return True
            slot = self.slots[self.order.first(waiting)]
            self._write(slot, waiting[slot.index])
            self.current[slot.index] = waiting[slot.index]
            self.progress(len(self.results | self.current), len(self.slots), slot.path)
            for visitor in live:
                if visitor.waiting is not None and visitor.waiting[0] is slot:
                    self._advance(visitor)

    def _visitor(self, batch: Batch) -> Visitor:
        twin = replica(self.model)

        def run() -> Any:
            self.call(twin, batch.value)

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
        if index in self._deferred():
            return "later"
        return "aside" if index in self._unfinished() else "wait"

    def _unfinished(self) -> frozenset[int]:
        return self.order.inseparable() - self.results.keys()

    def _deferred(self) -> frozenset[int]:
        """Return the slots behind inseparable ones that are not final yet."""
        blocking = self._unfinished()
        if not blocking:
            return frozenset()
        known = (s.index for s in self.slots if s.index not in self.results)
        return frozenset(
            slot
            for slot in known
            if any(
                self.order.precedes(b, slot) and not self.order.precedes(slot, b) for b in blocking
            )
        )

    def _write(self, slot: Slot, found: Measured) -> None:
        finish(slot, found, self.variance)


def finish(slot: Slot, found: Measured, variance: str) -> None:
    """Write a slot's final statistics.

    Raises:
        StatisticsError: every batch had one value per channel.
    """
    if not found.moments.count:
        return
    if found.has_single_values:
        raise StatisticsError(
            f"{slot.path}: every batch has one value per channel, which tells nothing of the "
            "variance that batch norm trains with; give batches of at least two samples"
        )
    slot.write(found.moments.mean, found.variance(variance))
    if slot.counter is not None:
        slot.counter.fill_(found.batches)


def no_data(skipped: dict[int, str]) -> str:
    """Return why there is nothing to measure by."""
    if not skipped:
        return "batches gave no data; give at least one batch with samples"
    reasons = "; ".join(f"batch {index}: {why}" for index, why in list(skipped.items())[:3])
    return f"none of the {len(skipped)} batches can be used ({reasons}); mend the data"


def _merged(pairs: Iterable[Iterable[tuple[Slot, Measured] | None]]) -> dict[int, Measured]:
    found: dict[int, list[Measured]] = {}
    for several in pairs:
        for pair in several:
            if pair is not None:
                found.setdefault(pair[0].index, []).append(pair[1])
    return {index: reduce(Measured.merge, values) for index, values in found.items()}


def _add(total: dict[int, Measured], more: dict[int, Measured]) -> None:
    for index, found in more.items():
        total[index] = total[index].merge(found) if index in total else found
