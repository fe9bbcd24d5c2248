"""The task of measuring statistics and its result, the same for every method."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from bnconvert.errors import StatisticsError
from bnconvert.reporting.progress import Progress
from bnconvert.statistics.batch_inputs import ForwardFunction
from bnconvert.statistics.estimate import Estimate
from bnconvert.statistics.interception import Interception, OnArrival, Watch
from bnconvert.statistics.ranks import Ranks
from bnconvert.statistics.targets import StatisticsTarget
from bnconvert.statistics.unmeasured import UnmeasuredUses

#: Why a batch did not count.
UNREACHED = "none of its values reached a norm that is measured"
#: Makes the interception of one forward, from what is done at each arrival.
Interceptor = Callable[[OnArrival], Interception]


@dataclass(frozen=True, eq=False)
class Task:
    """Which statistics to measure, and with which other ranks.

    Attributes:
        model: the user's model, of which only running statistics change.
        targets: the sets of running statistics to measure.
        call: runs a replica of the model on a batch.
        ranks: the processes that measure together.
        variance: which variance is written, "population" or "unbiased".
        progress: called with how much is done.
        uses: notes of what forwards do with statistics that cannot be measured.
    """

    model: nn.Module
    targets: tuple[StatisticsTarget, ...]
    call: ForwardFunction
    ranks: Ranks
    variance: str
    progress: Progress
    uses: UnmeasuredUses = field(default_factory=UnmeasuredUses)

    def interceptor(self, replica: nn.Module) -> Interceptor:
        """Return what makes the interception of a forward of `replica`, from what is to be done."""
        watch = Watch(self.targets, self.uses)
        return lambda on_arrival: Interception(watch, replica, on_arrival)

    def write_statistics(self, target: StatisticsTarget, estimate: Estimate) -> None:
        """Write the estimate into a target's buffers, as its final statistics.

        Raises:
            StatisticsError: every batch had one value per channel.
        """
        if not estimate.moments.count:
            return
        if estimate.has_single_values:
            raise StatisticsError(
                f"{target.path}: every batch has one value per channel, which tells nothing of the "
                "variance that batch norm trains with; give batches of at least two samples"
            )
        target.set_final(estimate.moments.mean, estimate.variance(self.variance))
        if target.counter is not None:
            target.counter.fill_(estimate.batches)


@dataclass(frozen=True, eq=False)
class TaskResult:
    """The result of measuring a task.

    Attributes:
        results: by target index, the estimate of its statistics.
        inseparable: the indices of targets that a forward reaches several times, which were
            measured over their calls.
        skipped: by batch index, why a batch did not count.
        passes: how many passes over the data were needed.
    """

    results: dict[int, Estimate]
    inseparable: frozenset[int] = frozenset()
    skipped: dict[int, str] = field(default_factory=dict)
    passes: int = 1


def merge_into(total: dict[int, Estimate], more: Mapping[int, Estimate]) -> None:
    """Merge further estimates, by target index, into a total, in place."""
    for index, estimate in more.items():
        total[index] = total[index].merge(estimate) if index in total else estimate


def why_no_data(skipped: Mapping[int, str]) -> str:
    """Return the error message of a measurement without any usable batch."""
    if not skipped:
        return "batches gave no data; give at least one batch with samples"
    reasons = "; ".join(f"batch {index}: {why}" for index, why in list(skipped.items())[:3])
    return f"none of the {len(skipped)} batches can be used ({reasons}); fix the data"
