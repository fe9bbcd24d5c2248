"""The state that torch keeps per thread: grad mode, inference mode, autocast, default dtype."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch

_DEVICES = ("cpu", "cuda", "xpu", "mps")


@dataclass(frozen=True)
class ThreadState:
    """What a paused forward must neither leak into another one nor lose.

    Modes that intercept functions (`torch.device(...)` as a context is one) are not listed: torch
    itself takes them off while a call that they intercept runs, and the pause lies inside of one.

    Attributes:
        grad: whether gradients are recorded.
        inference: whether inference mode is on.
        autocast: per device type, whether autocast is on, and its dtype.
        caches: whether autocast keeps the weights that it has cast.
        dtype: the default dtype.
    """

    grad: bool
    inference: bool
    autocast: tuple[tuple[bool, torch.dtype], ...]
    caches: bool
    dtype: torch.dtype

    @classmethod
    def now(cls) -> "ThreadState":
        """Read the state."""
        return cls(
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            tuple((torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in _DEVICES),
            torch.is_autocast_cache_enabled(),
            torch.get_default_dtype(),
        )

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Put this state in force for a while, then the one that was found."""
        found = ThreadState.now()
        if found == self:
            yield
            return
        with ExitStack() as stack:
            if found.inference != self.inference:
                stack.enter_context(torch.inference_mode(self.inference))
            try:
                self._set()
                yield
            finally:
                found._set()

    def _set(self) -> None:
        torch.set_grad_enabled(self.grad)
        for device, (enabled, dtype) in zip(_DEVICES, self.autocast, strict=True):
            torch.set_autocast_enabled(device, enabled)
            torch.set_autocast_dtype(device, dtype)
        torch.set_autocast_cache_enabled(self.caches)
        torch.set_default_dtype(self.dtype)
