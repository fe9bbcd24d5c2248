"""One at a time: the lock that keeps the verbs of several threads apart.

Stands in for a capture that threads could share. While torch.export, torch.onnx or torch.fx looks
at a model, it replaces methods of `nn.Module` and settings of the whole process; a second capture
meanwhile computes neither model, and the random state, stdout, stderr and log levels would be
restored in the wrong order. Known to be needed since torch 2.10.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Turn:
    """The lock; the thread that holds it may take it again."""

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def renew(self) -> None:
        """Take a free lock, in a process that was forked while some other thread held the old."""
        self.lock = threading.RLock()


_turn = _Turn()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_turn.renew)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait until no other thread is in such a context, or in a function that this decorates."""
    with _turn.lock:
        yield
