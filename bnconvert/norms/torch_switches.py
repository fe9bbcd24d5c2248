"""The switches of plain torch batch norms: temporary buffers replace their own in a context.

torch's forward has one flag for which statistics normalize and whether they are updated. A copy
of the buffers with momentum 0 takes the update instead; the tensors that autograd saves stay of
the same kind, so that a checkpointed recomputation may be switched where its forward was not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnconvert.modules.kinds import has_running_statistics
from bnconvert.modules.normalization import Statistics

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_STATE = "_bnconvert_state"


@dataclass(frozen=True, eq=False)
class PlainState:
    """What a plain torch batch norm was before any switch, and the switches set on it.

    Attributes:
        training: its training flag before.
        momentum: its momentum before.
        buffers: its buffers before, by name.
        updates: the switch: whether training updates the buffers.
        statistics: the switch: which statistics normalize; None where the mode decides.
    """

    training: bool
    momentum: float | None
    buffers: dict[str, Tensor | None]
    updates: bool = True
    statistics: Statistics = None

    @classmethod
    def of(cls, norm: _BatchNorm) -> "PlainState":
        """Return the state that an outer context has noted on the norm, or else read it."""
        outer = vars(norm).get(_STATE)
        if isinstance(outer, cls):
            return outer
        return cls(norm.training, norm.momentum, {n: norm._buffers.get(n) for n in _BUFFERS})

    def set_on(self, norm: _BatchNorm) -> None:
        """Change the norm so that its forward does what the switches say."""
        vars(norm)[_STATE] = self
        uses_batch = self.training if self.statistics is None else self.statistics == "batch"
        norm.training = uses_batch
        norm.momentum = self.momentum
        norm._buffers.update(self.buffers)
        if not (uses_batch and self.training and self.updates):
            norm.momentum = 0.0
            copies = {n: None if b is None else b.clone() for n, b in self.buffers.items()}
            norm._buffers.update(copies)


@contextmanager
def switched(model: nn.Module, **switches: Any) -> Iterator[None]:
    """Set switches, inside the context, on every plain batch norm with running statistics.

    Args:
        model: any module.
        **switches: `updates` or `statistics`, as in `PlainState`.
    """
    norms = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and has_running_statistics(module)
    ]
    before: list[tuple[Any, ...]] = [_settings(norm) for norm in norms]
    try:
        for norm in norms:
            replace(PlainState.of(norm), **switches).set_on(norm)
        yield
    finally:
        for norm, settings in zip(norms, before, strict=True):
            _restore(norm, *settings)


def is_switched(norm: nn.Module) -> bool:
    """Tell whether a switch is set on a plain batch norm, so that its buffers are temporary."""
    return _STATE in vars(norm)


def _settings(norm: _BatchNorm) -> tuple[Any, ...]:
    buffers = {name: norm._buffers[name] for name in _BUFFERS if name in norm._buffers}
    return norm.training, norm.momentum, buffers, vars(norm).get(_STATE)


def _restore(
    norm: _BatchNorm,
    training: bool,
    momentum: float | None,
    buffers: dict[str, Tensor | None],
    state: PlainState | None,
) -> None:
    """Give a norm back what `_settings` returned."""
    norm.training, norm.momentum = training, momentum
    norm._buffers.update(buffers)
    if state is None:
        vars(norm).pop(_STATE, None)
    else:
        vars(norm)[_STATE] = state
