"""Intercept every normalization by the running statistics that are measured.

Batch norm's modules, their subclasses with a forward of their own, fused layers and functional
calls all end in `F.batch_norm`, and the identity of the buffer tells whose statistics they use.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from bnconvert.statistics.targets import StatisticsTarget

#: Called with the target and the values that are about to be normalized by it.
OnArrival = Callable[[StatisticsTarget, Tensor], None]

_CALLS = (F.batch_norm, torch.batch_norm)
#: The position of the running mean: torch.batch_norm has the affine parameters first.
_POSITIONS = {F.batch_norm: 1, torch.batch_norm: 3}


class Interception(TorchFunctionMode):
    """A context in which `on_arrival` is called before each normalization by a target."""

    def __init__(self, by_mean: Mapping[int, StatisticsTarget], on_arrival: OnArrival) -> None:
        """Prepare the context.

        Args:
            by_mean: the targets, by the id of their buffer of means.
            on_arrival: may change the target's statistics, and may pause the forward.
        """
        super().__init__()
        self.by_mean, self.on_arrival = by_mean, on_arrival

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call `func`, and `on_arrival` before it where it normalizes by a target's statistics."""
        named = kwargs or {}
        if func in _CALLS:
            position = _POSITIONS[func]
            mean = args[position] if len(args) > position else named.get("running_mean")
            target = self.by_mean.get(id(mean))
            if target is not None:
                self.on_arrival(target, args[0] if args else named["input"])
        return func(*args, **named)
