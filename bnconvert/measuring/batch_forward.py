"""One batch on its way through the network, stopping at each target until all have arrived."""

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor

from bnconvert.lockstep import PausableForward
from bnconvert.measuring.batches import Batch
from bnconvert.measuring.estimate import Estimate, measure
from bnconvert.measuring.interception import Interception
from bnconvert.measuring.targets import StatisticsTarget

#: What a target is to a batch that arrives there. "final": its statistics are known from a pass
#: before. "wait": they are measured now, by all batches that come. "late": they were, without
#: this arrival. "aside": they cannot be final before this pass ends, so that the mini-batch's own
#: normalize, and are collected. "later": likewise, and collected in a later pass.
Role = Literal["final", "wait", "late", "aside", "later"]


class BatchForward:
    """A batch in a paused forward.

    Attributes:
        batch: which one.
        visited: the targets that it has reached, in order.
        waiting: the target where it waits, with what it brought; or None.
        aside: what it brought to targets that are collected aside.
        failure: why the batch cannot be used, or None.
        is_late: it came to a target that was finished without it; it only shows its way now.
    """

    def __init__(
        self,
        batch: Batch,
        run: Callable[[], object],
        by_mean: Mapping[int, StatisticsTarget],
        role_of: Callable[[StatisticsTarget], Role],
    ) -> None:
        """Prepare the forward; nothing runs yet.

        Args:
            batch: the batch.
            run: its forward, through a replica of its own.
            by_mean: the targets, by the id of their buffer of means.
            role_of: what a target is at this moment.
        """
        self.batch = batch
        self.visited: list[int] = []
        self.waiting: tuple[StatisticsTarget, Estimate] | None = None
        self.aside: list[tuple[StatisticsTarget, Estimate]] = []
        self.failure: str | None = None
        self.is_late = False
        self._role_of = role_of

        def go() -> None:
            with Interception(by_mean, self._arrive):
                run()

        self._forward = PausableForward(go)

    @property
    def is_over(self) -> bool:
        """Whether the forward has returned, raised or been cancelled."""
        return self._forward.is_over

    def resume(self) -> None:
        """Run until it waits at a target, or to the end."""
        self._forward.resume()

    def cancel(self) -> None:
        """End the forward where it stands."""
        self._forward.cancel()

    def _arrive(self, target: StatisticsTarget, x: Tensor) -> None:
        self.visited.append(target.index)
        role = self._role_of(target)
        self.is_late |= role == "late"
        if self.is_late or role == "final":
            return
        found = measure(x, self.batch.seen)
        if reason := why_unusable(found, alone=role != "wait"):
            self.failure = f"{reason} at {target.path}"
            self._forward.pause()  # for good: whoever drives cancels it
        if role == "wait":
            self.waiting = target, found
            self._forward.pause()
            self.waiting = None
        elif found.batches:
            target.put(found.moments.mean, found.moments.biased_variance())
            if role == "aside":
                self.aside.append((target, found))


def why_unusable(found: Estimate, *, alone: bool) -> str | None:
    """Return why a batch must not count, or None.

    Args:
        found: what it brought to a target.
        alone: whether it is normalized by itself there, which one value per channel cannot be.
    """
    if not found.is_finite:
        return "a NaN, an infinity or an overflow"
    if alone and found.has_single_values:
        return "one value per channel"
    return None
