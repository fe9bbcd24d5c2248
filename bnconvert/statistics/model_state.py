"""The state of a model beside its parameters, which comes back after it was run to observe it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import UninitializedBuffer

from bnconvert.modules.surgery import instances_in
from bnconvert.statistics.targets import SavedStatistics

Array = Tensor | np.ndarray[Any, Any]


@contextmanager
def restoring_state(model: nn.Module, measured: SavedStatistics) -> Iterator[None]:
    """Give every buffer and array of a model the values that it had, but for the measured ones.

    A forward may change them in eval mode too: observers, caches, counters, codebooks. Replicas
    share them with the model.

    Args:
        model: it, or replicas of it, run inside the context.
        measured: the statistics that are meant to change.
    """
    meant = {id(buffer) for target in measured for buffer in target.buffers}
    state = {id(array): array for array in _state_of(model) if id(array) not in meant}
    saved = [(a, a.detach().clone() if isinstance(a, Tensor) else a.copy()) for a in state.values()]
    try:
        yield
    finally:
        with torch.no_grad():
            for array, before in saved:
                _restore(array, before)


def _state_of(model: nn.Module) -> Iterator[Array]:
    """Yield the buffers, and the tensors and arrays among the plain attributes."""
    for module in model.modules():
        found = [b for b in module._buffers.values() if b is not None]
        for name, value in vars(module).items():
            if not name.startswith("_"):
                found += instances_in(value, (Tensor, np.ndarray))
        for array in found:
            empty = isinstance(array, UninitializedBuffer) or getattr(array, "is_meta", False)
            if not empty and not isinstance(array, nn.Parameter):
                yield array


def _restore(array: Array, before: Any) -> None:
    """Write values back, in place, where they changed."""
    if isinstance(array, np.ndarray):
        array[...] = before
    elif array.shape != before.shape or not torch.equal(array, before):
        array.resize_(before.shape).copy_(before)  # observers change shapes too
