"""Find outputs of bounded functions such as sigmoid, whose rounding is relative to their range.

Kernels approximate sigmoid, tanh and softmax with an error of about one unit in the last place of
1, not of the value. ONNX Runtime's sigmoid of -7 is 1e-5 off, relative to the value.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bnconvert.torch_private.operator_observer import OperatorObserver
from bnconvert.torch_private.operators import name_of
from bnconvert.torch_private.storages import StorageReference, identity_of

#: ATen operators, without "aten::", and without underscores around them.
BOUNDED = frozenset({"sigmoid", "tanh", "softmax", "safe_softmax", "erf"})


def is_bounded(operator: str) -> bool:
    """Tell by its name whether an ATen operator is a bounded function."""
    return operator.rpartition("::")[2].strip("_") in BOUNDED


class BoundedValues(OperatorObserver):
    """A context that notes which tensors are computed by bounded functions."""

    def __init__(self) -> None:
        """Start with nothing noted."""
        self._places: list[StorageReference] = []

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operator; note where its result lies."""
        result = super().run_operator(operator, args, kwargs)
        if is_bounded(name_of(operator)) and isinstance(result, Tensor):
            self._places.append(StorageReference(result.untyped_storage()))
        return result

    def among(self, outputs: Sequence[Tensor]) -> frozenset[int]:
        """Return the indices of the outputs that bounded functions computed, or views of them."""
        # Those that are gone do no harm: their identity is not used again.
        noted = {place.identity for place in self._places}
        return frozenset(
            index
            for index, output in enumerate(outputs)
            if output.layout is torch.strided and identity_of(output.untyped_storage()) in noted
        )
