"""Guard torch's random state: looking at a model must not change it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

#: torch gives it no types.
_uses_cuda: Callable[[], bool] = torch.cuda.is_initialized


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Restore, at the end of the context, torch's generators of the CPU and of CUDA devices in use.

    A device that no one has used yet is left uninitialized.
    """
    count = torch.cuda.device_count() if _uses_cuda() else 0
    with torch.random.fork_rng(devices=list(range(count))):
        yield
