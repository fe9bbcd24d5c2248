import pytest
import torch

from bnconvert.numerics.factored import Factored

DTYPES = torch.float16, torch.bfloat16, torch.float32, torch.float64


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_numbers_are_multiplied_in_float64_in_order(dtype: torch.dtype) -> None:
    stored = torch.randn(4, 3).to(dtype)
    rows, columns = torch.randn(4, 1).double(), torch.randn(1, 3).double()
    product = Factored(stored) * rows * columns
    assert torch.equal(product.numbers(), stored.double() * rows * columns)
    assert (product.shape, product.dim()) == ((4, 3), 2)
    assert Factored(stored).numbers().dtype is torch.float64


def test_a_tensor_with_a_gradient_gives_numbers_without() -> None:
    assert not Factored(torch.ones(2, requires_grad=True)).numbers().requires_grad


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("share", [0.5, 0.9999, 1.0, 1.01, 4.0])
def test_what_is_finite_is_what_rounding_says_near_the_largest_number_too(
    dtype: torch.dtype, share: float
) -> None:
    largest = torch.finfo(dtype).max
    product = Factored(torch.tensor([1.0, -2.0])) * torch.tensor(largest / 2).double()
    product = product * torch.tensor(share).double()
    assert product.is_finite_in(dtype) == bool(product.numbers().to(dtype).isfinite().all())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_found_in_the_tensor_and_in_a_factor(value: float) -> None:
    for stored, factor in ((value, 2.0), (2.0, value), (value, 0.0)):
        product = Factored(torch.tensor([1.0, stored])) * torch.tensor(factor).double()
        assert not product.is_finite_in(torch.float32)


def test_large_factors_of_small_numbers_are_finite() -> None:
    large, small = torch.tensor([1e-30, 1e30]), torch.tensor([1e30, 1e-30]).double()
    assert (Factored(large) * small).is_finite_in(torch.float32)  # the bound alone is 1e60


def test_no_number_is_finite() -> None:
    assert Factored(torch.zeros(0, 3)).is_finite_in(torch.float16)
