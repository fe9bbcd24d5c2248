"""Dynamic shapes as they are given: which axes of which tensor, and whether it has them."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.export import Dim
from torch.utils import _pytree as pytree

from bnconvert.errors import CaptureError
from bnconvert.graphs.example import Example, arguments_of


def shapes_of_tensors(
    model: nn.Module, example: Example, dynamic_shapes: Any
) -> list[tuple[str, Tensor, Any]] | None:
    """Return the tensors among the inputs, each with the name of its parameter and its axes.

    Args:
        model: says what its inputs are called.
        example: the inputs.
        dynamic_shapes: for all of them, as torch.export takes it.

    Returns:
        They in the order of the shapes; None where these do not have the form of the inputs, as
        torch says itself.
    """
    if isinstance(dynamic_shapes, Mapping):
        try:
            given = arguments_of(model, example)
        except TypeError:  # the forward does not take these inputs
            return None
        if not given.keys() >= dynamic_shapes.keys():
            return None
        found = [(name, given[name], axes) for name, axes in dynamic_shapes.items()]
    else:
        names = (f"input {place}" for place in range(len(example.args)))
        found = [*zip(names, example.args, dynamic_shapes or (), strict=False)]
    tensors: list[tuple[str, Tensor, Any]] = []
    for name, value, axes in found:
        leaves, shapes = pytree.tree_leaves(value), pytree.tree_leaves(axes, is_leaf=_are_axes)
        shapes = [None] * len(leaves) if axes is None else shapes
        if len(leaves) != len(shapes):
            return None
        pairs = zip(leaves, shapes, strict=True)
        tensors += [(name, leaf, shape) for leaf, shape in pairs if isinstance(leaf, Tensor)]
    return tensors


def require_axes(model: nn.Module, example: Example, dynamic_shapes: Any) -> None:
    """Require that tensors have the axes that may vary, and that one name is one size.

    Torch passes over an axis that is not there, and takes every name for a size of its own.

    Raises:
        CaptureError: they have not.
    """
    sizes: dict[str, tuple[str, int, int]] = {}
    for name, tensor, axes in shapes_of_tensors(model, example, dynamic_shapes) or ():
        for axis, called in axes.items() if isinstance(axes, Mapping) else ():
            if called is None:
                continue
            if not 0 <= axis < tensor.dim():
                raise CaptureError(
                    f"dynamic_shapes: {name} has the axes 0 to {tensor.dim() - 1}, and axis {axis} "
                    "is to vary; give one of these"
                )
            if not isinstance(called, str):
                continue
            size = tensor.shape[axis]
            other, place, known = sizes.setdefault(called, (name, axis, size))
            if known != size:
                raise CaptureError(
                    f"dynamic_shapes: {called!r} is {known} for axis {place} of {other}, and "
                    f"{size} for axis {axis} of {name}; give sizes that differ names of their own"
                )


def _are_axes(shape: Any) -> bool:
    """Tell whether a part of dynamic shapes is for one tensor: what may vary, by axis."""
    if isinstance(shape, Mapping):
        return all(isinstance(axis, int) for axis in shape)
    nested = Mapping, list, tuple
    if isinstance(shape, list | tuple):
        return not any(isinstance(part, nested) for part in shape)
    return isinstance(shape, Dim)
