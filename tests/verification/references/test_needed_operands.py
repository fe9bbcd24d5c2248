"""Operands that are not needed: the result is the same, to the bit, whatever finite numbers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bnconvert.torch_private.operator_observer import OperatorObserver
from bnconvert.verification.references.needed_operands import needed_operands

DRAW = torch.Generator().manual_seed(0)
ZEROS, ROWS, SQUARE = torch.zeros(4, 4), torch.randn(2, 4, generator=DRAW), torch.eye(4)
ONE = torch.randn(1, 2, 1, 4, generator=DRAW)
MANY = torch.randn(1, 2, 3, 4, generator=DRAW)
Operation = Callable[[Tensor], Tensor]

NOT_NEEDED: dict[str, tuple[Operation, tuple[int, ...]]] = {
    "times zeros": (lambda w: w * torch.zeros(4), (4,)),
    "times the number zero": (lambda w: w * 0.0, (4,)),
    "zeros times": (lambda w: torch.zeros(4) * w, (4,)),
    "a matrix product": (lambda w: torch.zeros(2, 4) @ w, (4, 4)),
    "products of a batch": (lambda w: torch.bmm(w, torch.zeros(3, 4, 2)), (3, 4, 4)),
    "a layer's weight": (lambda w: F.linear(torch.zeros(2, 4), w, torch.ones(5)), (5, 4)),
    "a convolution's weight": (lambda w: F.conv2d(torch.zeros(1, 2, 4, 4), w), (3, 2, 3, 3)),
    "a softmax over one": (lambda w: w.softmax(-1), (4, 1)),
    "its logarithm": (lambda w: w.log_softmax(1), (4, 1, 2)),
    "attention to one key": (lambda w: F.scaled_dot_product_attention(w, ONE, ONE), (1, 2, 3, 4)),
    "one key": (lambda w: F.scaled_dot_product_attention(MANY, w, ONE), (1, 2, 1, 4)),
}
NEEDED: dict[str, tuple[Operation, tuple[int, ...]]] = {
    "times numbers": (lambda w: w * torch.tensor([0.0, 1.0]), (2,)),
    "plus zeros": (lambda w: w + torch.zeros(4), (4,)),
    "a layer's bias": (lambda w: F.linear(torch.zeros(2, 4), ZEROS, w), (4,)),
    "a convolution's bias": (lambda w: F.conv2d(ZEROS[None, None], ONE[:, :1], w), (1,)),
    "a softmax over several": (lambda w: w.softmax(0), (4, 1)),
    "attention to several keys": (
        lambda w: F.scaled_dot_product_attention(w, MANY, MANY),
        (1, 2, 3, 4),
    ),
    "one value": (lambda w: F.scaled_dot_product_attention(MANY, ONE, w), (1, 2, 1, 4)),
    "times zeros in place": (lambda w: w.mul_(0.0), (4,)),
}


class Needed(OperatorObserver):
    """Notes the tensors that are needed, and follows what is computed from them."""

    def __init__(self, source: Tensor) -> None:
        self.found = [source]

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        needed = needed_operands(operator, args, kwargs, lambda t: not self.has(t))
        result = super().run_operator(operator, args, kwargs)
        if any(map(self.has, needed)):
            self.found += result if isinstance(result, tuple) else [result]
        return result

    def has(self, tensor: Any) -> bool:
        memory = tensor.untyped_storage().data_ptr() if isinstance(tensor, Tensor) else 0
        return any(memory == one.untyped_storage().data_ptr() for one in self.found if one.numel())


def followed(operation: Operation, shape: tuple[int, ...]) -> bool:
    w = torch.randn(shape, generator=DRAW)
    with torch.no_grad(), Needed(w) as needed:
        result = operation(w)
    return needed.has(result)


@pytest.mark.parametrize("name", NOT_NEEDED)
def test_what_changes_nothing_is_not_needed(name: str) -> None:
    operation, shape = NOT_NEEDED[name]
    first, second = torch.randn((2, *shape), generator=DRAW)
    assert torch.equal(operation(first), operation(second)), "the judge"
    assert not followed(operation, shape)


@pytest.mark.parametrize("name", NEEDED)
def test_all_else_is(name: str) -> None:
    operation, shape = NEEDED[name]
    assert followed(operation, shape)


def test_zeros_that_are_not_constant_may_be_other_numbers() -> None:
    operator, operands = torch.ops.aten.mul.Tensor, (ZEROS, SQUARE)
    assert needed_operands(operator, operands, {}, lambda _: True) == []
    assert len(needed_operands(operator, operands, {}, lambda t: t is not ZEROS)) == 2
