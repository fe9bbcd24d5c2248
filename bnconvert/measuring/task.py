"""What is to be measured, and what comes of it: the same for every way of measuring."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from bnconvert.errors import StatisticsError
from bnconvert.measuring.feeding import Call
from bnconvert.measuring.measured import Measured
from bnconvert.measuring.ranks import Ranks
from bnconvert.measuring.slots import Slot
from bnconvert.progress import Progress


@dataclass(frozen=True, eq=False)
class Task:
    """Which statistics to measure, and with whom.

    Attributes:
        model: the user's model, of which only running statistics change.
        slots: these.
        call: feeds a replica with a batch.
        ranks: who measures together.
        variance: "population" or "unbiased": what is written.
        progress: is told how far it is.
    """

    model: nn.Module
    slots: tuple[Slot, ...]
    call: Call
    ranks: Ranks
    variance: str
    progress: Progress

    @property
    def by_mean(self) -> dict[int, Slot]:
        """The slots, by the id of their buffer of means."""
        return {id(slot.mean): slot for slot in self.slots}

    def finish(self, slot: Slot, found: Measured) -> None:
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
        slot.write(found.moments.mean, found.variance(self.variance))
        if slot.counter is not None:
            slot.counter.fill_(found.batches)


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


def add(total: dict[int, Measured], more: Mapping[int, Measured]) -> None:
    """Merge what else was measured, by slot index, into a total, in place."""
    for index, found in more.items():
        total[index] = total[index].merge(found) if index in total else found


def no_data(skipped: Mapping[int, str]) -> str:
    """Return why there is nothing to measure by."""
    if not skipped:
        return "batches gave no data; give at least one batch with samples"
    reasons = "; ".join(f"batch {index}: {why}" for index, why in list(skipped.items())[:3])
    return f"none of the {len(skipped)} batches can be used ({reasons}); mend the data"
