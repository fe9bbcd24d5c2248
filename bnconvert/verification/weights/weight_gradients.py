"""Gradients of weights, of which it matters only whether they are zero.

The gradient by a convolution's weight takes as long as its forward. That of a few output channels
tells that the weight moves something; only where it is zero, all of them are computed.

All of them together are as large as the model. So one by a large weight is looked at as soon as it
is there, and let go of.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from bnconvert.torch_private.operator_observer import OperatorObserver

_FEW = 8  # output channels
_LARGE = 2**22  # bytes


def moving_weights(total: Tensor, weights: Sequence[tuple[str, Tensor]]) -> set[str]:
    """Return the names of the weights by which a number has a gradient that is not zero.

    Args:
        total: the number; it may be differentiated again.
        weights: tensors with their names, leaves of the graph or values in it.
    """
    tensors = [tensor for _, tensor in weights]
    with judged_at_once(tensors), FewChannels(tensors) as few:
        found = torch.autograd.grad(total, tensors, allow_unused=True, retain_graph=True)
    if few.reused:  # what two calls owe to one weight may cancel out
        with judged_at_once(tensors):
            found = torch.autograd.grad(total, tensors, allow_unused=True, retain_graph=True)
    return {name for (name, _), slope in zip(weights, found, strict=True) if _is_nonzero(slope)}


@contextmanager
def judged_at_once(weights: Iterable[Tensor]) -> Iterator[None]:
    """Let one number stand for the gradient by a large leaf: whether any of it is not zero.

    It has the gradient's sizes, and the memory of one number. Of values in the graph, gradients
    are what those upstream are computed from, and stay.
    """
    large = {id(w): w for w in weights if w.nbytes >= _LARGE and w.is_leaf and w.requires_grad}
    leaves: list[Any] = [*large.values()]  # torch's method has no types
    hooks = [leaf.register_hook(_judged) for leaf in leaves]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _judged(slope: Tensor) -> Tensor:
    return slope.new_full((), float(_is_nonzero(slope))).expand_as(slope)


def _is_nonzero(slope: Tensor | None) -> bool:
    if slope is None or not slope.numel():
        return False
    return bool(slope[(0,) * slope.dim()] != 0) or bool((slope != 0).any())


class FewChannels(OperatorObserver):
    """A context in which backward passes compute few channels of the gradients of convolutions.

    They are right, and those of the other channels are zero; all are right where these few are
    zero, and where a weight is computed from others, which may be any of its channels.

    Attributes:
        reused: whether a weight was used by several convolutions.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        """Take the leaves to differentiate by."""
        leaves = [weight for weight in weights if weight.is_leaf and weight.dim() > 2]
        self._left = {(leaf.data_ptr(), leaf.shape): 0 for leaf in leaves}
        self.reused = False

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operator, for few channels where it is such a gradient."""
        if operator is not torch.ops.aten.convolution_backward.default or kwargs:
            return super().run_operator(operator, args, kwargs)
        slope, given, weight, sizes, *how, groups, (by_input, by_weight, by_bias) = args
        place, transposed = (weight.data_ptr(), weight.shape), how[3]
        if not by_weight or place not in self._left:
            return super().run_operator(operator, args, kwargs)
        self._left[place] += 1
        self.reused |= self._left[place] > 1
        if transposed or groups != 1 or len(weight) <= _FEW:
            return super().run_operator(operator, args, kwargs)
        some, few = slope[:, :_FEW].contiguous(), weight[:_FEW].contiguous()
        _, part, _ = operator(some, given, few, None, *how, groups, [False, True, False])
        if not bool(part.any()):
            return super().run_operator(operator, args, kwargs)
        mask = [by_input, False, by_bias]
        first, third = None, None
        if by_input or by_bias:
            first, _, third = operator(slope, given, weight, sizes, *how, groups, mask)
        whole = torch.zeros_like(weight)
        whole[:_FEW] = part
        return first, whole, third
