from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import hessian, jacfwd, jacrev, vmap
from torch.nn import functional as F

from bnconvert.numerics.reduced import Reduce, _composed, reduced_batch_norm
from bnconvert.numerics.slices import whole

SHAPES = [(6, 3), (6, 3, 5), (6, 3, 4, 2), (6, 3, 2, 3, 2)]


def alone(values: Tensor) -> None:
    """Add up over one process."""


def doubled(values: Tensor) -> None:
    """Add up over two processes with the same values."""
    values.mul_(2)


def reduced(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, reduce: Reduce
) -> tuple[Tensor, ...]:
    """Call it for one slice, and take the row from the moments."""
    rows = [None if a is None else a.unsqueeze(0) for a in (weight, bias)]
    y, *moments = reduced_batch_norm(x, rows[0], rows[1], 1e-3, whole(x), reduce)
    return y, *(rows[0] for rows in moments)


def leaves(shape: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (shape, (3,), (3,))
    return [
        torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_alone_it_is_batch_norm_with_its_gradients(shape: tuple[int, ...]) -> None:
    x, weight, bias = leaves(shape)
    y, count, mean, var = reduced(x, weight, bias, alone)
    expected = F.batch_norm(x, None, None, weight, bias, True, 0.0, 1e-3)
    torch.testing.assert_close(y, expected)
    gradient = torch.randn_like(x)
    for mine, other in zip(
        torch.autograd.grad(y, [x, weight, bias], gradient),
        torch.autograd.grad(expected, [x, weight, bias], gradient),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)
    axes = tuple(a for a in range(len(shape)) if a != 1)
    assert count == x.numel() / 3
    torch.testing.assert_close(mean, x.mean(axes))
    torch.testing.assert_close(var, x.var(axes, unbiased=False))
    assert not any(moments.requires_grad for moments in (count, mean, var))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # by torch itself
@pytest.mark.parametrize("transform", [jacrev, jacfwd, hessian], ids=lambda t: t.__name__)
def test_shared_sums_are_transformed_too(transform: Callable[..., Callable[..., Any]]) -> None:
    x, weight, bias = (leaf.detach() for leaf in leaves((4, 3, 2)))
    found = transform(lambda given: reduced(given, weight, bias, doubled)[0].sin().sum(-1))(x)
    expected = transform(
        lambda given: (
            F.batch_norm(torch.cat([given, given]), None, None, weight, bias, True, 0.0, 1e-3)[:4]
            .sin()
            .sum(-1)
        )
    )(x)
    assert found.shape == expected.shape
    if transform is jacfwd:  # each process's tangent counts, as each one's gradient does
        torch.testing.assert_close(found, expected)


def test_a_batch_of_models_has_sums_of_its_own() -> None:
    x = torch.stack([leaves((4, 3, 2))[0].detach() * scale + scale for scale in (1, 3)])
    together = vmap(lambda given: reduced(given, None, None, doubled)[0])(x)
    one_by_one = torch.stack([reduced(given, None, None, doubled)[0] for given in x])
    torch.testing.assert_close(together, one_by_one)


def test_a_batch_of_gradients_is_each_of_them() -> None:
    x = leaves((4, 3, 2))[0]
    y = reduced(x, None, None, doubled)[0]
    cotangents = torch.randn(3, *y.shape, dtype=y.dtype)
    together = torch.autograd.grad(y, x, cotangents, is_grads_batched=True, retain_graph=True)[0]
    for row, cotangent in zip(together, cotangents, strict=True):
        torch.testing.assert_close(row, torch.autograd.grad(y, x, cotangent, retain_graph=True)[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_it_has_second_gradients(shape: tuple[int, ...]) -> None:
    def function(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return reduced(x, weight, bias, alone)[0]

    assert gradcheck(function, leaves(shape))
    assert gradgradcheck(function, leaves(shape), fast_mode=True)


def test_twice_the_same_values_are_the_same_batch_norm_of_twice_the_count() -> None:
    x, weight, bias = leaves((4, 3, 5))
    y, count, _, var = reduced(x, weight, bias, doubled)
    other, _, _, once = reduced(x, weight, bias, alone)
    assert count == 40
    torch.testing.assert_close(var, once)
    torch.testing.assert_close(y, other)
    gradient = torch.randn_like(x)
    (mine,), (theirs,) = (torch.autograd.grad(out, x, gradient) for out in (y, other))
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_fast_way_and_the_composed_way_agree(dtype: torch.dtype) -> None:
    x = leaves((6, 3, 4, 2))[0].detach().to(dtype).requires_grad_()
    weight = torch.rand(3, requires_grad=True)
    results = []
    for way in (reduced_batch_norm, _composed):
        y, _, mean, _ = way(x, weight[None], None, 1e-3, whole(x), alone)
        gradient = torch.ones_like(y) + torch.arange(2.0, dtype=dtype)
        results.append([y, mean.detach(), *torch.autograd.grad(y, [x, weight], gradient)])
    assert results[0][0].dtype is dtype
    rough = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}[dtype]
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, rtol=rough, atol=rough)


def test_an_input_without_a_gradient_is_reduced_once() -> None:
    calls: list[int] = []

    def counted(values: Tensor) -> None:
        calls.append(values.numel())

    x, weight, bias = leaves((4, 3, 5))
    reduced(x.detach(), weight, bias, counted)[0].sum().backward()
    assert calls == [7]
    reduced(x, weight, bias, counted)[0].sum().backward()
    assert calls == [7, 7, 6]


def test_an_empty_share_takes_part() -> None:
    x = torch.zeros(0, 3, 4, requires_grad=True)
    y, count, mean, var = reduced(x, None, None, alone)
    y.sum().backward()
    assert count == 0
    assert not mean.any()
    assert not var.any()
    assert x.grad is not None
    assert x.grad.shape == (0, 3, 4)


def test_slices_of_one_label_are_normalized_together() -> None:
    x, *_ = leaves((7, 3, 4))
    weight, bias = (torch.rand(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    bounds, labels = ((0, 2), (2, 3), (3, 6), (6, 7)), torch.tensor([0, 1, 0, 1])
    same = (labels[:, None] == labels).double()

    def function(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        rows = weight[labels], bias[labels]
        return reduced_batch_norm(x, *rows, 1e-3, bounds, lambda t: t.copy_(same @ t))[0]

    y = function(x, weight, bias)
    where = torch.tensor([0, 0, 1, 0, 0, 0, 1])
    for label in (0, 1):
        own = (weight[label], bias[label])
        expected = F.batch_norm(x[where == label], None, None, *own, True, 0.0, 1e-3)
        torch.testing.assert_close(y[where == label], expected)
    assert gradcheck(function, (x, weight, bias))
    assert gradgradcheck(function, (x, weight, bias), fast_mode=True)
