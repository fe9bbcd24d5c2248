"""Replicas of a model, one per forward that may pause: modules of their own, shared tensors.

What a forward stores on its modules (a skip connection, a feature dictionary of a hook, a counter)
stays with its batch, and the user's own modules, modes and hooks are never touched: only the
running statistics, which are shared, change.
"""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn

from bnconvert.errors import UnsupportedModelError
from bnconvert.surgery import held, uncopied
from bnconvert.tracking import TrackingNorm


def replica(model: nn.Module) -> nn.Module:
    """Return a copy in eval mode that shares every parameter, buffer and array with `model`.

    Norms of bnconvert normalize by their running statistics in it, also adaptive ones.

    Raises:
        UnsupportedModelError: the model cannot be copied.
    """
    twin = _copied(model, uncopied(model) | {id(t): t for t in _shared(model)})
    for module in twin.modules():
        module.training = False
        if isinstance(module, TrackingNorm):
            module.statistics = "running"
    return twin


def twin(model: nn.Module) -> nn.Module:
    """Return a copy with buffers of its own that shares the parameters, in the model's modes.

    Raises:
        UnsupportedModelError: the model cannot be copied.
    """
    return _copied(model, uncopied(model) | {id(p): p for p in model.parameters()})


def _copied(model: nn.Module, memo: dict[int, Any]) -> nn.Module:
    try:
        return copy.deepcopy(model, memo)
    except Exception as failure:
        raise UnsupportedModelError(
            f"the model cannot be copied ({type(failure).__name__}: {failure}); take what cannot "
            "be copied off its attributes while its statistics are measured"
        ) from failure


def _shared(model: nn.Module) -> Iterator[Tensor | np.ndarray[Any, Any]]:
    """Yield every tensor and array that the modules hold."""
    for module in model.modules():
        yield from (t for t in module._parameters.values() if t is not None)
        yield from (t for t in module._buffers.values() if t is not None)
        for name, value in vars(module).items():
            if not name.startswith("_"):
                yield from held(value, (Tensor, np.ndarray))
