"""Forward passes that can pause, so that many batches are inside one network at once.

A forward pass runs as a greenlet, a coroutine that may stop anywhere in ordinary code, however
deep: no trace is needed, and data-dependent control flow is no obstacle. All of them share one
thread, one memory allocator and one pool of workers.
"""

from collections.abc import Callable
from contextlib import suppress

from greenlet import GreenletExit, greenlet

from bnconvert.statistics.thread_state import ThreadState


class PausableForward:
    """A forward pass that can pause.

    The code that creates it is its driver: `resume` runs it until it pauses or ends, and raises
    what it raises.
    """

    def __init__(self, run: Callable[[], object]) -> None:
        """Create it without starting it.

        Args:
            run: the forward; it may call `pause` anywhere, however deep.
        """
        self._outside = ThreadState.now()
        self._greenlet = greenlet(run)

    @property
    def is_over(self) -> bool:
        """Whether it has returned, raised or been cancelled."""
        return bool(self._greenlet.dead)

    def resume(self) -> None:
        """Run until the next pause, or the end."""
        self._greenlet.switch()

    def pause(self) -> None:
        """Return control to the driver, in the grad mode and autocast in which it was created."""
        driver = self._greenlet.parent
        assert driver is not None
        with self._outside.restored():
            driver.switch()

    def cancel(self) -> None:
        """End it where it paused: its `finally` blocks run, and its tensors are released."""
        if self._greenlet and not self.is_over:
            with suppress(Exception):
                self._greenlet.throw(GreenletExit)
