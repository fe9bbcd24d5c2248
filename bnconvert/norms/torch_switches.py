"""The switches of plain torch batch norms: temporary buffers replace their own in a context.

torch's forward has one flag for which statistics normalize and whether they are updated. A copy
of the buffers with momentum 0 takes the update instead; the tensors that autograd saves stay of
the same kind, so that a checkpointed recomputation may be switched where its forward was not.
"""

import copyreg
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnconvert.modules.kinds import has_running_statistics
from bnconvert.modules.normalization import Statistics

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_STATE = "_bnconvert_state"
#: What is set on a switched norm itself, beside `_STATE`.
_OVERRIDDEN = ("train", "__reduce_ex__")


@dataclass(eq=False)
class PlainState:
    """What a plain torch batch norm is without the switches that are set on it, and these.

    Attributes:
        norm: the norm.
        training: its training flag, as `train()` and `eval()` set it, inside a context too.
        momentum: its momentum.
        buffers: its buffers, by name.
        switches: those that are in force, the innermost last: `updates`, whether training updates
            the buffers, and `statistics`, which statistics normalize.
    """

    norm: _BatchNorm
    training: bool
    momentum: float | None
    buffers: dict[str, Tensor | None]
    switches: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, norm: _BatchNorm) -> "PlainState":
        """Return the state that an outer context has noted on the norm, or else read it."""
        outer = vars(norm).get(_STATE)
        if isinstance(outer, cls):
            return outer
        buffers = {name: norm._buffers.get(name) for name in _BUFFERS}
        return cls(norm, norm.training, norm.momentum, buffers)

    @property
    def updates(self) -> bool:
        """Whether training updates the buffers."""
        return bool(self._innermost("updates", True))

    @property
    def statistics(self) -> Statistics:
        """Which statistics normalize; None where the mode decides."""
        found: Statistics = self._innermost("statistics", None)
        return found

    def apply(self) -> None:
        """Change the norm so that its forward does what the switches say; undo it without any."""
        norm = self.norm
        norm.momentum = self.momentum
        norm._buffers.update(self.buffers)
        if not self.switches:
            norm.training = self.training
            for name in (_STATE, *_OVERRIDDEN):
                vars(norm).pop(name, None)
            return
        vars(norm).update({_STATE: self, "train": self.train, "__reduce_ex__": self.reduce})
        uses_batch = self.training if self.statistics is None else self.statistics == "batch"
        norm.training = uses_batch
        if not (uses_batch and self.training and self.updates):
            norm.momentum = 0.0
            copies = {n: None if b is None else b.clone() for n, b in self.buffers.items()}
            norm._buffers.update(copies)

    def train(self, mode: bool = True) -> nn.Module:
        """Set the mode in the place of the norm's own `train`: it holds beyond the context."""
        type(self.norm).train(self.norm, mode)
        self.training = mode
        self.apply()
        return self.norm

    def reduce(self, protocol: int) -> tuple[Any, ...]:
        """Describe the norm without its switches, for a copy or a pickle of it."""
        own = {n: v for n, v in vars(self.norm).items() if n not in (_STATE, *_OVERRIDDEN)}
        buffers = {**self.norm._buffers, **self.buffers}
        own |= {"training": self.training, "momentum": self.momentum, "_buffers": buffers}
        return copyreg.__newobj__, (type(self.norm),), own  # type: ignore[attr-defined]

    def _innermost(self, name: str, default: Any) -> Any:
        return next((s[name] for s in reversed(self.switches) if name in s), default)


@contextmanager
def switched(model: nn.Module, **switches: Any) -> Iterator[None]:
    """Set switches, inside the context, on every plain batch norm with running statistics.

    `train()` and `eval()` work inside the context as ever, and a copy that is made there is not
    switched.

    Args:
        model: any module.
        **switches: `updates` or `statistics`, as in `PlainState`.
    """
    states = [
        PlainState.of(module)
        for module in model.modules()
        if isinstance(module, _BatchNorm) and has_running_statistics(module)
    ]
    try:
        for state in states:
            state.switches.append(switches)
            state.apply()
        yield
    finally:
        for state in states:
            state.switches[:] = [other for other in state.switches if other is not switches]
            state.apply()


def is_switched(norm: nn.Module) -> bool:
    """Tell whether a switch is set on a plain batch norm, so that its buffers are temporary."""
    return _STATE in vars(norm)
