"""The random state, given back as it was found: whoever looks at a model draws no number of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

#: torch gives it no types.
_uses_cuda: Callable[[], bool] = torch.cuda.is_initialized


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Give torch's generators of the CPU and of every CUDA device in use their state back.

    A device that no one has used yet is left uninitialized.
    """
    count = torch.cuda.device_count() if _uses_cuda() else 0
    with torch.random.fork_rng(devices=list(range(count))):
        yield
