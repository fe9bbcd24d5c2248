import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bnconvert.numerics.channel_map import ChannelMap
from tests.excerpts import function, model
from tests.folding.operators.passage import (
    PASSES,
    POSITIVE,
    POSITIVE_SCALE,
    SCALE,
    SHIFT,
    Change,
    Passage,
    Passages,
)

IMAGE = (2, 4, 3, 2)
ACTIVATIONS = {
    "relu": function(F.relu, IMAGE),
    "leaky_relu": function(lambda x: F.leaky_relu(x, 0.2), IMAGE),
    "abs": function(torch.abs, IMAGE),
}
OTHERS = {
    "hardtanh": function(F.hardtanh, IMAGE),
    "gelu": function(F.gelu, IMAGE),
    "silu": function(F.silu, IMAGE),
}
plain = Passages({**ACTIVATIONS, **OTHERS})
decomposed = Passages(
    {
        "prelu": model(lambda: nn.PReLU(4), IMAGE),
        "slope": function(lambda x, y: F.prelu(x, y.mean((0, 2, 3))), IMAGE, IMAGE),
    }
)


def passage(name: str) -> Passage:
    return (decomposed if name in decomposed.sketches else plain)(name)


@pytest.mark.parametrize("name", [*ACTIVATIONS, "prelu"])
def test_a_positive_multiplication_passes_both_ways(name: str) -> None:
    assert passage(name).up(POSITIVE_SCALE) == PASSES
    assert passage(name).down(POSITIVE_SCALE) == PASSES
    assert passage(name).down(POSITIVE_SCALE, axes=(1, 3)) == PASSES


@pytest.mark.parametrize("name", [*ACTIVATIONS, "prelu"])
def test_a_negative_scale_does_not_pass(name: str) -> None:
    refusal = f"an activation ({name}): only positive scales pass it"
    assert passage(name).up(SCALE) == refusal
    assert passage(name).down(SCALE) == refusal


@pytest.mark.parametrize("change", [SHIFT, POSITIVE])
@pytest.mark.parametrize("name", [*ACTIVATIONS, "prelu"])
def test_an_addition_does_not_pass(name: str, change: Change) -> None:
    refusal = f"an activation ({name}): an addition does not pass it"
    assert passage(name).up(change) == refusal
    assert passage(name).down(change) == refusal


def test_a_scale_of_zero_is_not_positive() -> None:
    zero = ChannelMap.on_axis(torch.tensor([1.0, 0, 2, 3]), torch.zeros(4), 1, 4)
    assert passage("relu").up(zero) == "an activation (relu): only positive scales pass it"


@pytest.mark.parametrize("name", OTHERS)
def test_no_map_passes_an_activation_that_is_not_homogeneous(name: str) -> None:
    made = f"its input is made by {name}, not by a convolution or a linear layer"
    assert passage(name).up(POSITIVE_SCALE) == made
    assert passage(name).down(POSITIVE_SCALE) == f"{name} reads it"


def test_a_computed_slope_takes_no_map() -> None:
    assert passage("slope").down(POSITIVE_SCALE, at=1) == "it is the slope of an activation"
    assert passage("slope").down(POSITIVE_SCALE, at=0) == PASSES
