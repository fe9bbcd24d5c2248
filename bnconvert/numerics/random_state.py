"""Guard the random state: looking at a model must not change it.

Beside torch's generators, those of Python and NumPy: augmentations draw from them, and forwards
that drop layers.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

#: torch gives it no types.
_uses_cuda: Callable[[], bool] = torch.cuda.is_initialized


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Restore, at the end of the context, the generators of the CPU and of CUDA devices in use.

    A device that no one has used yet is left uninitialized.
    """
    count = torch.cuda.device_count() if _uses_cuda() else 0
    outside = HostRandomState()
    try:
        with torch.random.fork_rng(devices=list(range(count))):
            yield
    finally:
        outside.restore()


class HostRandomState:
    """The state of torch's generator of the CPU, of Python's and of NumPy's."""

    def __init__(self) -> None:
        """Note it."""
        self._torch = torch.get_rng_state()
        self._python = random.getstate()
        self._numpy = _numpy_state()

    def has_changed(self) -> bool:
        """Tell whether numbers were drawn since."""
        return (
            not torch.equal(self._torch, torch.get_rng_state())
            or self._python != random.getstate()
            or self._numpy != _numpy_state()
        )

    def restore(self) -> None:
        """Go back to it."""
        torch.set_rng_state(self._torch)
        random.setstate(self._python)
        name, keys, *others = self._numpy
        np.random.set_state((name, np.frombuffer(keys, dtype=np.uint32), *others))


def _numpy_state() -> tuple[Any, ...]:
    """Return the state of NumPy's generator, which can be compared."""
    state: Any = np.random.get_state()
    name, keys, *others = state
    return name, keys.tobytes(), *others
