"""Which operands an operator's result is computed from: all, but for products and softmax.

What is multiplied by a constant zero, and the scores of a softmax over one element, do not count,
whatever their numbers are, as long as they are finite.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from bnconvert.torch_private.operators import base_name, changes_its_inputs

#: Operators that multiply two of their operands, and at which places these are.
_PRODUCTS = {
    "mul": (0, 1), "mm": (0, 1), "bmm": (0, 1), "mv": (0, 1), "dot": (0, 1), "linear": (0, 1),
    "convolution": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2), "addmv": (1, 2),
}  # fmt: skip


def needed_operands(
    operator: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    is_constant: Callable[[Tensor], bool],
) -> list[Tensor]:
    """Return the tensors from whose numbers an operator computes its result.

    Args:
        operator: of ATen.
        args: its positional arguments.
        kwargs: its keyword arguments.
        is_constant: tells whether a tensor is the same at every call.
    """
    left_out = set[int]()
    if not changes_its_inputs(operator):
        name = base_name(operator)
        if name in _PRODUCTS and max(_PRODUCTS[name]) < len(args):
            factors = [args[place] for place in _PRODUCTS[name]]
            left_out = {*_PRODUCTS[name]} if _any_zero(factors, is_constant) else set()
        elif name.endswith("softmax"):
            left_out = {0} if _is_over_one(args) else set()
        elif "scaled_dot_product" in name:
            left_out = {0, 1} if args[1].shape[-2] == 1 else set()
    rest = [arg for place, arg in enumerate(args) if place not in left_out]
    leaves = pytree.tree_leaves((rest, kwargs))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _any_zero(factors: Iterable[Any], is_constant: Callable[[Tensor], bool]) -> bool:
    """Tell whether a factor is nothing but zeros, and always is."""
    return any(
        is_constant(factor) and not factor.any() if isinstance(factor, Tensor) else factor == 0
        for factor in factors
    )


def _is_over_one(args: Sequence[Any]) -> bool:
    """Tell whether a softmax's axis has one element."""
    scores, axis = args[0], args[1]
    return bool(scores.dim()) and scores.shape[axis] == 1
