from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, vmap
from torch.nn import functional as F

from bnconvert.numerics.batch_norm import batch_norm_by, fixed_affine, slice_batch_norm
from bnconvert.numerics.reduced import reduced_batch_norm
from bnconvert.numerics.slices import slice_affine, slice_moments, whole
from tests.numerics.test_slices import BOUNDS, SHAPES, batch, rows


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("moments", [True, False])
def test_batch_norm_has_first_and_second_gradients(
    way: str, shape: tuple[int, ...], moments: bool
) -> None:
    def function(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if moments:
            return batch_norm_by(x, weight, bias, slice_moments(x.detach(), BOUNDS), 1e-3, BOUNDS)
        return slice_batch_norm(x, weight, bias, 1e-3, BOUNDS)[0]

    assert gradcheck(function, (batch(shape), *rows(2)))
    assert gradgradcheck(function, (batch(shape), *rows(2)), fast_mode=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_of_a_slice_is_torchs_batch_norm_of_it(way: str, shape: tuple[int, ...]) -> None:
    x, (weight, bias) = batch(shape), rows(2)
    y, mean, var = slice_batch_norm(x, weight, bias, 1e-3, BOUNDS)
    for mine, other in zip((mean, var), slice_moments(x, BOUNDS), strict=True):
        assert not mine.requires_grad
        torch.testing.assert_close(mine, other)
    parts = [
        F.batch_norm(x[first:end], None, None, weight[row], bias[row], True, 0.0, 1e-3)
        for row, (first, end) in enumerate(BOUNDS)
    ]
    torch.testing.assert_close(y, torch.cat(parts))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_comes_back_as_it_went_in(way: str, dtype: torch.dtype) -> None:
    x = batch((6, 3, 4, 4)).detach().to(dtype).requires_grad_()
    mean, var = slice_moments(x, BOUNDS)
    assert (mean.dtype, var.dtype) == (torch.float32, torch.float32)
    weight = torch.rand(2, 3, requires_grad=True)
    for y in (
        slice_affine(x, mean, weight, None, BOUNDS),
        batch_norm_by(x, weight, None, (mean.detach(), var.detach()), 1e-3, BOUNDS),
        slice_batch_norm(x, weight, None, 1e-3, BOUNDS)[0],
    ):
        assert y.dtype is dtype
        dx, dweight = torch.autograd.grad(y.float().square().sum(), [x, weight], retain_graph=True)
        assert (dx.dtype, dweight.dtype) == (dtype, torch.float32)


@pytest.mark.parametrize("make", [Tensor.clone, lambda g: g[:1].expand_as(g), lambda g: g.sum()])
def test_a_gradient_of_any_layout_is_taken(make: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(4, 3, 6, 5).to(memory_format=torch.channels_last).requires_grad_()
    gradient = make(torch.randn(4, 3, 6, 5))
    gradient = gradient.expand(4, 3, 6, 5) if gradient.dim() == 0 else gradient
    mine, _, _ = slice_batch_norm(x, None, None, 1e-5, whole(x))
    theirs = F.batch_norm(x, None, None, None, None, True, 0.0, 1e-5)
    assert mine.stride() == theirs.stride()
    (a,), (b,) = (torch.autograd.grad(y, x, gradient) for y in (mine, theirs))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_fixed_affine_map_keeps_nothing_of_its_input() -> None:
    saved: list[tuple[int, ...]] = []

    def note(tensor: Tensor) -> Tensor:
        saved.append(tuple(tensor.shape))
        return tensor

    x = torch.randn(4, 3, 6, 5, requires_grad=True)
    mean, var, weight = torch.randn(3), torch.rand(3) + 0.5, torch.rand(3)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        y = fixed_affine(x, mean, var, weight, None, 1e-5)
    assert saved == [(3,), (3,)]
    expected = F.batch_norm(x, mean, var, weight, None, False, 0.0, 1e-5)
    assert torch.equal(y, expected)
    gradient = torch.randn_like(y)
    (a,), (b,) = (torch.autograd.grad(out, x, gradient) for out in (y, expected))
    torch.testing.assert_close(a, b)
    wide = x.detach().double().requires_grad_()
    mean, var, weight = mean.double(), var.double(), weight.double()
    assert gradgradcheck(
        lambda x: fixed_affine(x, mean, var, weight, None, 1e-5), wide, fast_mode=True
    )


def test_a_sample_of_a_batch_has_its_own_gradient_through_a_fixed_affine_map() -> None:
    """torch.func maps no autograd function over a batch."""
    x, fixed = torch.randn(4, 2, 3), (torch.randn(3), torch.rand(3) + 0.5)

    def loss(sample: Tensor) -> Tensor:
        return fixed_affine(sample, *fixed, None, None, 1e-5).square().sum()

    found = vmap(grad(loss))(x)
    one_by_one = x.clone().requires_grad_()
    torch.stack([loss(sample) for sample in one_by_one]).sum().backward()
    torch.testing.assert_close(found, one_by_one.grad)


RECORDED: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "moments": lambda x, *_: torch.stack(slice_moments(x, BOUNDS)),
    "a scale and a shift": lambda x, mean, weight, bias: slice_affine(
        x, mean, weight, bias, BOUNDS
    ),
    "by given moments": lambda x, mean, weight, bias: batch_norm_by(
        x, weight, bias, (mean.detach(), mean.detach().square()), 1e-3, BOUNDS
    ),
    "batch norm": lambda x, _, weight, bias: slice_batch_norm(x, weight, bias, 1e-3, BOUNDS)[0],
    "by fixed tensors": lambda x, mean, weight, bias: fixed_affine(
        x, mean[0].detach(), bias[1].detach().square(), weight[0].detach(), None, 1e-3
    ),
    "added up": lambda x, _, weight, bias: reduced_batch_norm(
        x, weight, bias, 1e-3, BOUNDS, lambda values: None
    )[0],
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_gradient_is_the_same_where_it_is_recorded_for_another_one(way: str, name: str) -> None:
    """A check of second gradients alone takes the first ones for right, whatever they are."""
    leaves = (batch((6, 3, 4, 2)), *rows(3))
    y = RECORDED[name](*leaves)
    gradient = torch.randn_like(y)
    first, recorded = (
        torch.autograd.grad(
            y, leaves, gradient, retain_graph=True, create_graph=record, allow_unused=True
        )
        for record in (False, True)
    )
    torch.testing.assert_close(recorded, first)
