"""A virtual batch norm's reference batch, where a step's inputs lie and in their precision."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class ReferenceBatch:
    """The reference's tensors, and what they became for the last step's inputs.

    Kept: a copy to an accelerator in each step would wait for the device, and cannot be part of a
    CUDA graph.

    Attributes:
        tensors: the positional inputs, as the user gave them.
    """

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        """Keep the tensors."""
        self.tensors = tensors
        self._placed = tensors

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a file holds: the tensors once."""
        return {"tensors": self.tensors, "_placed": self.tensors}

    def like(self, inputs: Sequence[Any], parameter: Tensor | None) -> tuple[Tensor, ...]:
        """Return the tensors on the inputs' devices, and floating ones in the inputs' dtypes.

        Args:
            inputs: a step's positional inputs, which may be fewer.
            parameter: one of the model's, if it has any: where a tensor goes that has no input.
        """
        wanted = [
            _place(mine, inputs[i] if i < len(inputs) else None, parameter)
            for i, mine in enumerate(self.tensors)
        ]
        if torch.compiler.is_compiling():
            return _moved(self.tensors, wanted)
        placed = self._placed  # replicas of several devices may ask at once
        if wanted != [(t.device, t.dtype) for t in placed]:
            placed = self._placed = _moved(self.tensors, wanted)
        return placed

    def copied_like(self, inputs: Sequence[Any], parameter: Tensor | None) -> tuple[Tensor, ...]:
        """Return copies of what `like` returns, for a model that may change them in place."""
        return tuple(tensor.clone() for tensor in self.like(inputs, parameter))


def _place(mine: Tensor, given: Any, parameter: Tensor | None) -> tuple[torch.device, torch.dtype]:
    if not isinstance(given, Tensor):
        return (mine if parameter is None else parameter).device, mine.dtype
    floating = mine.is_floating_point() and given.is_floating_point()
    return given.device, given.dtype if floating else mine.dtype


def _moved(
    tensors: tuple[Tensor, ...], wanted: list[tuple[torch.device, torch.dtype]]
) -> tuple[Tensor, ...]:
    pairs = zip(tensors, wanted, strict=True)
    return tuple(tensor.to(device, dtype) for tensor, (device, dtype) in pairs)
