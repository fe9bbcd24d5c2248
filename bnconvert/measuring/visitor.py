"""One batch on its way through the network, stopping at each slot until all have arrived."""

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor

from bnconvert.lockstep import Forward
from bnconvert.measuring.feeding import Batch
from bnconvert.measuring.interception import Interception
from bnconvert.measuring.measured import Measured, measure
from bnconvert.measuring.slots import Slot

#: What a slot is to a batch that arrives there. "final": its statistics are known from a pass
#: before. "wait": they are measured now, by all batches that come. "late": they were, without
#: this arrival. "aside": they cannot be final before this pass ends, so that the mini-batch's own
#: normalize, and are collected. "later": likewise, and collected in a later pass.
Role = Literal["final", "wait", "late", "aside", "later"]


class Visitor:
    """A batch in a paused forward.

    Attributes:
        batch: which one.
        visited: the slots that it has reached, in order.
        waiting: the slot where it waits, with what it brought; or None.
        aside: what it brought to slots that are collected aside.
        failure: why the batch cannot be used, or None.
        is_late: it came to a slot that was finished without it; it only shows its way now.
    """

    def __init__(
        self,
        batch: Batch,
        run: Callable[[], object],
        by_mean: Mapping[int, Slot],
        role_of: Callable[[Slot], Role],
    ) -> None:
        """Prepare the forward; nothing runs yet.

        Args:
            batch: the batch.
            run: its forward, through a replica of its own.
            by_mean: the slots, by the id of their buffer of means.
            role_of: what a slot is at this moment.
        """
        self.batch = batch
        self.visited: list[int] = []
        self.waiting: tuple[Slot, Measured] | None = None
        self.aside: list[tuple[Slot, Measured]] = []
        self.failure: str | None = None
        self.is_late = False
        self._role_of = role_of

        def go() -> None:
            with Interception(by_mean, self._arrive):
                run()

        self.forward = Forward(go)

    def _arrive(self, slot: Slot, x: Tensor) -> None:
        self.visited.append(slot.index)
        role = self._role_of(slot)
        self.is_late |= role == "late"
        if self.is_late or role == "final":
            return
        found = measure(x, self.batch.seen)
        if reason := why_unusable(found, alone=role != "wait"):
            self.failure = f"{reason} at {slot.path}"
            self.forward.pause()  # for good: whoever drives cancels it
        if role == "wait":
            self.waiting = slot, found
            self.forward.pause()
            self.waiting = None
        elif found.batches:
            slot.put(found.moments.mean, found.moments.biased_variance())
            if role == "aside":
                self.aside.append((slot, found))


def why_unusable(found: Measured, *, alone: bool) -> str | None:
    """Return why a batch must not count, or None.

    Args:
        found: what it brought to a slot.
        alone: whether it is normalized by itself there, which one value per channel cannot be.
    """
    if not found.is_finite:
        return "a NaN, an infinity or an overflow"
    if alone and found.has_single_values:
        return "one value per channel"
    return None
