import pytest
import torch
from torch.nn import functional as F

from tests.excerpts import function
from tests.folding.operators.passage import ANY, PASSES, SCALE, SHIFT, Change, Passages

IMAGE = (2, 4, 3, 2)
passage = Passages(
    {
        "product": function(torch.mul, IMAGE, IMAGE),
        "gated": function(lambda x, y: x * y.mean((2, 3), keepdim=True), IMAGE, IMAGE),
        "masked": function(lambda x, y: x[:, :1] * y, IMAGE, IMAGE),
        "fewer_axes": function(lambda x, y: x.mean(0) * y, IMAGE, IMAGE),
        "clipped_first": function(lambda x, y: F.gelu(x) * y, IMAGE, IMAGE),
        "clipped_both": function(lambda x, y: F.gelu(x) * F.silu(y), IMAGE, IMAGE),
        "square": function(lambda x: x * x, IMAGE),
    }
)


@pytest.mark.parametrize("name", ["product", "gated", "masked", "fewer_axes", "clipped_first"])
def test_one_factor_is_scaled(name: str) -> None:
    assert passage(name).up(SCALE) == PASSES


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("name", ["product", "gated", "fewer_axes"])
def test_a_multiplication_of_a_factor_is_one_of_the_product(name: str, at: int) -> None:
    assert passage(name).down(SCALE, at=at) == PASSES


@pytest.mark.parametrize("change", [SHIFT, ANY])
def test_an_addition_does_not_pass(change: Change) -> None:
    assert passage("product").up(change) == (
        "a product of two values: an addition does not pass it"
    )
    assert passage("product").down(change) == (
        "a product with another value: an addition does not pass it"
    )


def test_a_factor_without_the_channels_of_the_map_is_not_scaled() -> None:
    assert passage("masked").up(SCALE, axes=(1, 2)) == PASSES
    assert passage("masked").down(SCALE, axes=(2, 3), at=0) == PASSES


def test_without_a_factor_that_can_be_scaled_it_says_why() -> None:
    assert passage("clipped_both").up(SCALE) == (
        "its input is made by silu, not by a convolution or a linear layer"
    )


def test_a_square_is_no_product_of_two() -> None:
    assert passage("square").up(SCALE) == "it multiplies a value by itself"
    assert passage("square").down(SCALE) == "it multiplies a value by itself"
