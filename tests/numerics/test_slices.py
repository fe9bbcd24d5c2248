import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from bnconvert.numerics.slices import slice_affine, slice_moments

BOUNDS = ((0, 2), (2, 6))
SHAPES = [(6, 3), (6, 3, 5), (6, 3, 4, 2), (6, 3, 2, 3, 2)]


def batch(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def rows(count: int) -> list[Tensor]:
    return [batch((len(BOUNDS), 3), seed) for seed in range(1, count + 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_moments_have_first_and_second_gradients(way: str, shape: tuple[int, ...]) -> None:
    x = batch(shape)
    assert gradcheck(lambda x: slice_moments(x, BOUNDS), x)
    assert gradgradcheck(lambda x: slice_moments(x, BOUNDS), x, fast_mode=True)
    mean, var = slice_moments(x, BOUNDS)
    axes = tuple(a for a in range(len(shape)) if a != 1)
    torch.testing.assert_close(mean[1], x[2:].mean(axes))
    torch.testing.assert_close(var[1], x[2:].var(axes, unbiased=False))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_affine_map_has_first_and_second_gradients(way: str, shape: tuple[int, ...]) -> None:
    def function(x: Tensor, origin: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return slice_affine(x, origin, scale, shift, BOUNDS)

    assert gradcheck(function, (batch(shape), *rows(3)))
    assert gradgradcheck(function, (batch(shape), *rows(3)), fast_mode=True)


def test_an_empty_slice_and_an_empty_batch_have_moments_and_gradients_of_zero(way: str) -> None:
    for shape, bounds in (((4, 3, 2, 2), ((0, 0), (0, 4))), ((0, 3, 2, 2), ((0, 0),))):
        x = torch.randn(shape, requires_grad=True)
        mean, var = slice_moments(x, bounds)
        assert not mean[0].any()
        assert not var[0].any()
        y = slice_affine(x, mean, var + 1, None, bounds)
        y.sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()
