"""Layer by layer: each norm is measured while all upstream norms use their final statistics.

Done one norm at a time, that costs a pass over the data per norm. Here all batches are inside the
network at once: each pauses at its next norm, and when every batch that will reach that norm has
arrived, its moments over all of them are merged and written, and the batches go on. The work is
that of one forward pass over the data (Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021,
section 3.2, for the statistics).

Where batches wait at different norms, a norm that is not known to come after any of the others is
finished first (`ReachOrder`). A batch that reaches a norm only after it was finished shows an
order that was not known, and the pass is repeated knowing it. A norm that a forward calls several
times comes before itself and has no place in any order: it is measured over its calls, each
normalized by its own mini-batch, and the norms downstream of it are measured in one more pass.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bnconvert.errors import StatisticsError
from bnconvert.modules.copies.copying import Replicas
from bnconvert.statistics.batch_forward import BatchForward, Role
from bnconvert.statistics.batches import Batch
from bnconvert.statistics.estimate import Estimate
from bnconvert.statistics.paging.activation_paging import Memory
from bnconvert.statistics.reach_order import ReachOrder
from bnconvert.statistics.targets import StatisticsTarget
from bnconvert.statistics.task import UNREACHED, Task, TaskResult, merge_into, why_no_data


@dataclass(frozen=True, eq=False)
class _RankState:
    """What a rank tells the others before each target is finished.

    Attributes:
        batches: how many usable batches it has.
        must_repeat: whether one of them needs the pass to be repeated.
        waiting: by target index, the estimates of its waiting batches.
    """

    batches: int
    must_repeat: bool
    waiting: dict[int, Estimate]


class LayerwiseMeasurement:
    """The measurement of all targets of a task, layer by layer; `run` it once."""

    def __init__(self, task: Task, memory: Memory) -> None:
        """Prepare to measure, with activations in `memory`."""
        self.task, self.memory = task, memory
        self.replicas = Replicas(task.model)
        self.order = ReachOrder()
        self.results: dict[int, Estimate] = {}
        self.skipped: dict[int, str] = {}
        self.kept: list[tuple[Batch, list[int | None]]] = []  # with the versions of their tensors
        self.finished: dict[int, Estimate] = {}  # in this pass
        self.collected: frozenset[int] = frozenset()  # inseparable, measured at the pass's end
        self.deferred: frozenset[int] = frozenset()  # downstream of those: for a later pass

    def run(self, batches: Iterable[Batch]) -> TaskResult:
        """Measure; the buffers have the final statistics afterwards.

        Raises:
            StatisticsError: there is no usable data.
        """
        source: Iterable[Batch] = self._keeping(batches)
        passes, complete = 0, False
        with self.memory:
            try:
                while not complete:
                    passes += 1
                    complete = self._run_pass(source)
                    source = self._kept_batches()
            finally:
                self.kept.clear()  # before what is moved away is brought back
        inseparable = self.order.inseparable() & self.results.keys()
        return TaskResult(self.results, inseparable, self.skipped, passes)

    def _keeping(self, batches: Iterable[Batch]) -> Iterable[Batch]:
        """Yield the batches, and keep them for another pass."""
        for batch in batches:
            kept = self.memory.adopt(batch)
            self.kept.append((kept, kept.versions()))
            self.task.progress(len(self.kept), None, "reading batches")
            yield kept

    def _kept_batches(self) -> Iterable[Batch]:
        """Yield the batches of an earlier pass that are usable, unless a forward changed them."""
        for batch, versions in self.kept:
            if batch.index in self.skipped:
                continue
            if batch.versions() != versions:
                raise StatisticsError(
                    "the forward changes its input in place, and the data are needed once more; "
                    "give forward=lambda model, batch: model(batch.clone())"
                )
            yield batch

    def _run_pass(self, batches: Iterable[Batch]) -> bool:
        """Run all batches through once; tell whether nothing is left to measure."""
        forwards: list[BatchForward] = []
        self.finished = {}
        self.collected = self.order.inseparable() - self.results.keys()
        self.deferred = self._downstream_of(self.collected)
        try:
            for batch in batches:
                forwards.append(self._forward(batch))
                self._advance(forwards[-1])
            if not self._finish_targets(forwards):
                self._learn_order(forwards)
                return False
        finally:
            for forward in forwards:
                forward.cancel()
        self._note_unreached(forwards)
        local = _merged(pair for forward in forwards for pair in forward.collected)
        for estimates in self.task.ranks.gather(local):
            merge_into(self.finished, estimates)
        for index in self.collected & self.finished.keys():
            self.task.write_statistics(self.task.targets[index], self.finished[index])
        self.results |= self.finished
        return not self.deferred or not self.finished

    def _note_unreached(self, forwards: Sequence[BatchForward]) -> None:
        """Note the batches of which no value arrived at any target."""
        for forward in forwards:
            if forward.failure is None and not forward.has_values:
                self.skipped.setdefault(forward.batch.index, UNREACHED)

    def _learn_order(self, forwards: Sequence[BatchForward]) -> None:
        """Note, on all ranks, the order in which late batches reached the targets."""
        local = [forward.reached for forward in forwards if forward.is_late], len(self.skipped)
        shares = self.task.ranks.gather(local)
        new = [self.order.learn(sequences) for sequences, _ in shares]
        assert any(new) or any(skipped for _, skipped in shares), "a pass is repeated for a reason"

    def _finish_targets(self, forwards: Sequence[BatchForward]) -> bool:
        """Finish target after target; tell whether the pass came to its end."""
        while True:
            usable = [forward for forward in forwards if forward.failure is None]
            local = _merged(forward.waiting for forward in usable)
            must_repeat = any(f.is_late or (f.failure and len(f.reached) > 1) for f in forwards)
            states = self.task.ranks.gather(_RankState(len(usable), bool(must_repeat), local))
            if not sum(state.batches for state in states):
                raise StatisticsError(why_no_data(self.skipped))
            if any(state.must_repeat for state in states):
                return False
            waiting: dict[int, Estimate] = {}
            for state in states:
                merge_into(waiting, state.waiting)
            if not waiting:
                return True
            target = self.task.targets[self.order.next_to_finish(waiting)]
            self.task.write_statistics(target, waiting[target.index])
            self.finished[target.index] = waiting[target.index]
            done = len(self.results | self.finished)
            self.task.progress(done, len(self.task.targets), target.path)
            for forward in usable:
                if forward.waiting is not None and forward.waiting[0] is target:
                    self._advance(forward)

    def _forward(self, batch: Batch) -> BatchForward:
        """Create the forward of a batch, on a replica of the model."""
        replica = self.replicas.new()

        def run() -> Any:
            self.task.call(replica, batch.value)

        return BatchForward(batch, run, self.task.interceptor(replica), self._role_of)

    def _advance(self, forward: BatchForward) -> None:
        """Resume a forward within the memory limit; cancel it where its batch is unusable."""
        with self.memory.running(forward.batch.index):
            forward.resume()
        if forward.failure is not None:
            self.skipped[forward.batch.index] = forward.failure
            forward.cancel()

    def _role_of(self, target: StatisticsTarget) -> Role:
        """Return the role of a target in this pass."""
        index = target.index
        if index in self.results:
            return "final"
        if index in self.finished:
            return "finished"
        if index in self.deferred:
            return "deferred"
        return "collected" if index in self.collected else "measured"

    def _downstream_of(self, blocking: frozenset[int]) -> frozenset[int]:
        """Return the targets without a result yet that lie downstream of `blocking` ones."""
        unknown = (t.index for t in self.task.targets if t.index not in self.results)
        before = self.order.precedes
        return frozenset(
            index
            for index in unknown
            if any(before(other, index) and not before(index, other) for other in blocking)
        )


def _merged(pairs: Iterable[tuple[StatisticsTarget, Estimate] | None]) -> dict[int, Estimate]:
    """Merge estimates by target index; None is left out."""
    total: dict[int, Estimate] = {}
    for pair in pairs:
        if pair is not None:
            merge_into(total, {pair[0].index: pair[1]})
    return total
