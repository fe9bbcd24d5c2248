"""The forward pass of one batch, paused at each set of statistics until all batches arrived."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal

from torch import Tensor

from bnconvert.statistics.batches import Batch
from bnconvert.statistics.estimate import Estimate, measure
from bnconvert.statistics.interception import OnArrival
from bnconvert.statistics.lockstep import PausableForward
from bnconvert.statistics.targets import StatisticsTarget

#: What a target is at the moment when a batch reaches it:
#: "final": its statistics are known, from an earlier pass.
#: "measured": it is being measured; the batch waits until all batches have come.
#: "finished": it was measured in this pass, without this batch, which came too late.
#: "collected": it cannot be final before this pass ends: the batch is normalized by its own
#: moments, which are collected.
#: "deferred": it is measured in a later pass: the batch is normalized by its own moments.
Role = Literal["final", "measured", "finished", "collected", "deferred"]


class BatchForward:
    """The forward pass of one batch, which pauses at targets that are being measured.

    Attributes:
        batch: the batch.
        reached: the indices of the targets that it has reached, in order.
        waiting: the target where it waits, and the estimate of its values there; or None.
        collected: targets that are measured at the end of the pass, and its estimates there.
        failure: why the batch cannot be used, or None.
        has_values: whether any of its values arrived at a target.
        is_late: whether it came to a target that was finished without it; from there on it only
            shows which targets it reaches.
    """

    def __init__(
        self,
        batch: Batch,
        run: Callable[[], object],
        intercept: Callable[[OnArrival], AbstractContextManager[object]],
        role_of: Callable[[StatisticsTarget], Role],
    ) -> None:
        """Prepare the forward; nothing runs yet.

        Args:
            batch: the batch.
            run: its forward, through a replica of its own.
            intercept: makes the context that tells of arrivals at targets.
            role_of: what a target is at this moment.
        """
        self.batch = batch
        self.reached: list[int] = []
        self.waiting: tuple[StatisticsTarget, Estimate] | None = None
        self.collected: list[tuple[StatisticsTarget, Estimate]] = []
        self.failure: str | None = None
        self.has_values = False
        self.is_late = False
        self._role_of = role_of

        def intercepted() -> None:
            with intercept(self._arrive):
                run()

        self._forward = PausableForward(intercepted)

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
        """Handle the arrival at a target, as its role says; it may pause the forward."""
        self.reached.append(target.index)
        self.batch.note_arrival(target, x)
        self.has_values |= x.numel() > 0
        role = self._role_of(target)
        self.is_late |= role == "finished"
        if self.is_late or role == "final":
            return
        estimate = measure(x, self.batch.seen)
        if reason := why_unusable(estimate, by_itself=role != "measured"):
            self.failure = f"{reason} at {target.path}"
            self._forward.pause()  # it is not resumed: the driver cancels it
        if role == "measured":
            self.waiting = target, estimate
            self._forward.pause()
            self.waiting = None
        elif estimate.batches:
            target.set_values(estimate.moments.mean, estimate.moments.biased_variance())
            if role == "collected":
                self.collected.append((target, estimate))


def why_unusable(estimate: Estimate, *, by_itself: bool) -> str | None:
    """Return why a batch must not count, or None.

    Args:
        estimate: of its values at a target.
        by_itself: whether its own moments normalize it there, which is impossible with one value
            per channel.
    """
    if not estimate.is_finite:
        return "a NaN, an infinity or an overflow"
    if by_itself and estimate.has_single_values:
        return "one value per channel"
    return None
