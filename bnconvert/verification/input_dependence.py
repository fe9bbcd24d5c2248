"""Find outputs that are computed from the numbers of a model's inputs, and not from sizes alone.

Only these have to move when the inputs do: anchors and masks of the sizes are constants.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from bnconvert.torch_private.operator_observer import OperatorObserver
from bnconvert.torch_private.operators import base_name
from bnconvert.torch_private.storages import StorageReference, identity_of

_OF_SIZES = ("new_", "empty", "zeros", "ones", "full", "rand", "arange", "eye", "scalar_tensor")
_NUMBER = "_local_scalar_dense"  # a tensor's number becomes Python's, where it cannot be followed


class InputDependence(OperatorObserver):
    """A context that notes which tensors are computed from the inputs' numbers."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        """Start with the inputs."""
        self._noted: dict[int, StorageReference] = {}
        self._escaped = False
        for tensor in inputs:
            self._note(tensor)

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operator; note its results if it reads a noted tensor."""
        name = base_name(operator)
        result = super().run_operator(operator, args, kwargs)
        reads = any(self._depends(leaf) for leaf in pytree.tree_leaves((args, kwargs)))
        if reads and not name.startswith(_OF_SIZES):
            self._escaped |= name == _NUMBER
            for leaf in pytree.tree_leaves(result):
                self._note(leaf)
        return result

    def among(self, outputs: Sequence[Tensor]) -> set[int]:
        """Return the indices of the outputs that are computed from the inputs' numbers."""
        if self._escaped:
            return set(range(len(outputs)))
        return {index for index, output in enumerate(outputs) if self._depends(output)}

    def _note(self, leaf: Any) -> None:
        if isinstance(leaf, Tensor):
            reference = StorageReference(leaf.untyped_storage())
            self._noted[reference.identity] = reference

    def _depends(self, leaf: Any) -> bool:
        if not isinstance(leaf, Tensor):
            return False
        noted = self._noted.get(identity_of(leaf.untyped_storage()))
        return noted is not None and noted.is_alive()
