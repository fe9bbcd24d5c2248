from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import Function
from torch.func import grad, jacrev, jvp, vmap

from bnconvert.torch_private.function_transforms import is_transformed, level_of

#: torch itself scripts something when forward-mode differentiation is first used.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
X = torch.ones(2, 3)


def dual(function: Callable[[Tensor], Tensor]) -> None:
    with forward_ad.dual_level():
        function(forward_ad.make_dual(X, X))


TRANSFORMS: dict[str, Callable[[Callable[[Tensor], Tensor]], object]] = {
    "vmap": lambda function: vmap(function)(X),
    "grad": lambda function: grad(lambda x: function(x).sum())(X),
    "jacrev": lambda function: jacrev(function)(X),
    "jvp": lambda function: jvp(function, (X,), (X,)),
    "dual numbers": dual,
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_every_transform_is_seen_inside_of_it_only(
    transform: Callable[[Callable[[Tensor], Tensor]], object],
) -> None:
    seen: list[bool] = []

    def function(x: Tensor) -> Tensor:
        seen.append(is_transformed(x))
        return x * 1

    transform(function)
    assert seen
    assert all(seen)
    assert not is_transformed(X)


class _Watched(Function):
    seen: ClassVar[tuple[bool, ...]] = ()

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        _Watched.seen += (is_transformed(gradient),)
        return gradient


@pytest.mark.parametrize("batched", [False, True])
def test_a_batch_of_gradients_is_seen(batched: bool) -> None:
    _Watched.seen = ()
    x = torch.ones(3, requires_grad=True)
    cotangent = torch.eye(3) if batched else torch.ones(3)
    torch.autograd.grad(_Watched.apply(x), x, cotangent, is_grads_batched=batched)
    assert list(_Watched.seen) == [batched]


def test_a_level_counts_the_transforms_that_a_tensor_takes_part_in() -> None:
    outside, seen = torch.ones(3), []

    def function(x: Tensor) -> Tensor:
        seen.append((level_of(x), level_of(outside)))
        return x.sum()

    vmap(grad(function))(X)
    vmap(function)(X)
    assert seen == [(2, 0), (1, 0)]
    assert level_of(X) == 0
