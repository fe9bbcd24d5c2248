"""A model that takes raw inputs: it computes (x - mean) / std itself, first of all."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnconvert.errors import ExportError
from bnconvert.modules.copying import copy_model

Preprocess = tuple[Sequence[float] | float, Sequence[float] | float]


def with_preprocess(model: nn.Module, preprocess: Preprocess) -> nn.Module:
    """Return a copy of a model that first normalizes its first input, channel by channel.

    Args:
        model: an eager module; it is not changed.
        preprocess: mean and standard deviation, one number or one for each channel, in the
            units of the input.

    Raises:
        ExportError: a deviation is zero, or a number is not finite.
        UnsupportedModelError: the model cannot be copied.
    """
    mean, std = (torch.as_tensor(part, dtype=torch.float64).flatten() for part in preprocess)
    if not (torch.isfinite(mean).all() and torch.isfinite(std).all() and (std != 0).all()):
        raise ExportError(
            f"preprocess=({mean.tolist()}, {std.tolist()}): the deviations must be finite and "
            "not zero; give (mean, std) in the units of the input"
        )
    copied = copy_model(model)
    copied.register_forward_pre_hook(Normalizing(mean, std), with_kwargs=True, prepend=True)
    return copied


class Normalizing:
    """A forward pre-hook: (x - mean) / std of the first input, along axis 1."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        """Keep both in float64; each input is normalized in its own dtype."""
        self.mean = mean
        self.std = std

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the call's inputs with the first one normalized."""
        if args:
            return (self._normalized(args[0]), *args[1:]), kwargs
        first = next(iter(kwargs))
        return args, {**kwargs, first: self._normalized(kwargs[first])}

    def _normalized(self, x: Tensor) -> Tensor:
        shape = [1, -1, *[1] * (x.dim() - 2)]
        mean, std = (part.reshape(shape).to(x) for part in (self.mean, self.std))
        return (x - mean) / std
