"""Follow numbers through a forward: from which of its inputs and weights an output is computed.

Only what is computed from the inputs' numbers has to move when they do: anchors and masks of the
sizes are constants. Weights from which no output is computed leave nothing to compare.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.graphs.example import Example
from bnconvert.torch_private.operator_observer import OperatorObserver
from bnconvert.torch_private.operators import base_name, reads_numbers, shapes_by_numbers
from bnconvert.torch_private.storages import StorageReference, identity_of
from bnconvert.verification.references.needed_operands import needed_operands

_OF_SIZES = ("new_", "empty", "zeros", "ones", "full", "rand", "arange", "eye", "scalar_tensor")
INPUTS, _WEIGHTS = "inputs", "weights"  # sources
#: Names of what numbers come from.
Sources = frozenset[str]
_NONE: Sources = frozenset()


class Dependence(OperatorObserver):
    """A context that notes from which tensors' numbers each tensor is computed.

    All that a forward reads and that may be another time other, its inputs and its weights, must
    be among the sources: the rest counts as constant.

    Attributes:
        read: sources whose numbers Python has read, where they cannot be followed.
        shaping: sources whose numbers decided how large a tensor is.
    """

    def __init__(self, sources: Mapping[str, Sequence[Tensor]]) -> None:
        """Start with the tensors of each source, by its name."""
        self._noted: dict[int, tuple[StorageReference, Sources]] = {}
        self.read, self.shaping = _NONE, _NONE
        for name, tensors in sources.items():
            for tensor in tensors:
                self._note(tensor, self.of(tensor) | {name})

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operator; note for its results what it reads."""
        needed = needed_operands(operator, args, kwargs, self._is_constant)
        found = _NONE.union(*map(self.of, needed))
        result = super().run_operator(operator, args, kwargs)
        if found and not base_name(operator).startswith(_OF_SIZES):
            self.read |= found if reads_numbers(operator) else _NONE
            self.shaping |= found if shapes_by_numbers(operator, args) else _NONE
            for leaf in pytree.tree_leaves(result):
                self._note(leaf, found)
        return result

    def of(self, leaf: Any) -> Sources:
        """Return from which sources a tensor was computed, as far as tensors were followed."""
        if not isinstance(leaf, Tensor):
            return _NONE
        reference, found = self._noted.get(identity_of(leaf.untyped_storage()), (None, _NONE))
        return found if reference is not None and reference.is_alive() else _NONE

    def among(self, outputs: Sequence[Tensor], source: str) -> set[int]:
        """Return the indices of the outputs that are computed from a source's numbers.

        Where Python has read one of them, every output may be.
        """
        if source in self.read:
            return set(range(len(outputs)))
        return {index for index, output in enumerate(outputs) if source in self.of(output)}

    def _note(self, leaf: Any, found: Sources) -> None:
        if isinstance(leaf, Tensor):
            reference = StorageReference(leaf.untyped_storage())
            self._noted[reference.identity] = reference, found

    def _is_constant(self, tensor: Tensor) -> bool:
        """Tell whether a tensor is the same whatever the sources are."""
        return not self.of(tensor)


def followed(
    model: nn.Module, example: Example, weights: Mapping[str, Sequence[Tensor]] | None = None
) -> tuple[Any, Dependence]:
    """Run a model; return its result, and what was computed from what.

    Args:
        model: in eval mode.
        example: its inputs, of which a copy is used.
        weights: tensors of the model that are to be told apart, by a name for the source.
    """
    copied = example.map(Tensor.clone)
    state = [*model.parameters(), *model.buffers()]
    sources = {INPUTS: copied.tensors(), _WEIGHTS: state} | dict(weights or {})
    with torch.no_grad(), Dependence(sources) as watch:
        result = model(*copied.args, **copied.kwargs)
    return result, watch
