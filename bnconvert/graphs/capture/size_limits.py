"""The sizes for which a captured graph is what the model computes, as torch.export found them.

A model that treats batches of more than 16 otherwise is captured as it treats the given one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from bnconvert.errors import CaptureError
from bnconvert.graphs.example import Example, arguments_of
from bnconvert.torch_private.size_guards import broken_guard, in_words, size_guards

_BATCHES = 65  # batch sizes below this one are tried


@dataclass(frozen=True)
class SizeLimits:
    """Conditions on sizes.

    Attributes:
        conditions: as `size_guards` returns them.
    """

    conditions: tuple[str, ...] = ()

    @classmethod
    def of(cls, program: ExportedProgram) -> "SizeLimits":
        """Read them from a program."""
        return cls(size_guards(program))

    def __str__(self) -> str:
        """Return the conditions as a reader would write them."""
        return ", ".join(map(in_words, self.conditions))

    def broken_by(self, model: nn.Module, example: Example) -> str | None:
        """Return the first condition that inputs do not meet, in words, or None.

        Args:
            model: what was captured; it says which parameter an input is.
            example: the inputs.
        """
        if not self.conditions:
            return None
        return broken_guard(self.conditions, arguments_of(model, example) | example.kwargs)

    def require_any_batch(self, model: nn.Module, example: Example) -> None:
        """Raise where some batch size does not meet a condition.

        Raises:
            CaptureError: with the condition.
        """

        def sized(size: int) -> Example:
            def other(tensor: Tensor) -> Tensor:
                rows = (size, *tensor.shape[1:]) if example.is_batched(tensor) else tensor.shape
                return torch.empty(rows, device="meta")

            return example.map(other)

        for size in range(2, _BATCHES) if self.conditions else ():
            if broken := self.broken_by(model, sized(size)):
                raise CaptureError(f"the model computes other things unless {broken}")
