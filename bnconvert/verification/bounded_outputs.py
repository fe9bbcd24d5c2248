"""Find outputs of bounded functions such as sigmoid, whose rounding is relative to their range.

Kernels approximate sigmoid, tanh and softmax with an error of about one unit in the last place of
1, not of the value. ONNX Runtime's sigmoid of -7 is 1e-5 off, relative to the value.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing import reductions
from torch.utils._python_dispatch import TorchDispatchMode

#: It keeps no memory; while it lives, its address is nobody else's. torch 2.13 gives it no types.
_Place: Any = reductions.StorageWeakRef
#: ATen operators, without "aten::", and without underscores around them.
BOUNDED = frozenset({"sigmoid", "tanh", "softmax", "safe_softmax", "erf"})


def is_bounded(operator: str) -> bool:
    """Tell by its name whether an ATen operator is a bounded function."""
    return operator.rpartition("::")[2].strip("_") in BOUNDED


class BoundedValues(TorchDispatchMode):
    """A context that notes which tensors are computed by bounded functions."""

    def __init__(self) -> None:
        """Start with nothing noted."""
        super().__init__()
        self._places: list[Any] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator; note where its result lies."""
        result = func(*args, **(kwargs or {}))
        if is_bounded(func._schema.name) and isinstance(result, Tensor):
            self._places.append(_Place(result.untyped_storage()))
        return result

    def among(self, outputs: Sequence[Tensor]) -> frozenset[int]:
        """Return the indices of the outputs that bounded functions computed, or views of them."""
        noted = {place.cdata for place in self._places if not place.expired()}
        return frozenset(
            index
            for index, output in enumerate(outputs)
            if output.layout is torch.strided and output.untyped_storage()._cdata in noted
        )
