import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bnconvert.folding.operators.padding import BORDER
from bnconvert.graphs.aten import aten
from bnconvert.numerics.channel_map import ChannelMap
from tests.excerpts import Sketch, function
from tests.folding.operators.passage import ANY, PASSES, POSITIVE, SCALE, SHIFT, Passages

SERIES, IMAGE, VOLUME = (2, 4, 5), (2, 4, 5, 6), (2, 4, 3, 4, 5)


def lowered(name: str, rank: int) -> Sketch:
    operator = getattr(aten, f"{name}_pad{rank}d").default
    return function(lambda x: operator(x, [1, 2] * rank), (SERIES, IMAGE, VOLUME)[rank - 1])


REPEATING = {
    "reflect": function(lambda x: F.pad(x, (1, 2, 2, 1), mode="reflect"), IMAGE),
    "replicate": function(lambda x: F.pad(x, (1, 2, 2, 1), mode="replicate"), IMAGE),
    "circular": function(lambda x: F.pad(x, (1, 2, 2, 1), mode="circular"), IMAGE),
    **{
        f"{name}{rank}d": lowered(name, rank)
        for name in ("reflection", "replication")
        for rank in (1, 2, 3)
    },
}
CONSTANT = {
    "zeros": function(lambda x: F.pad(x, (1, 2, 0, 1)), IMAGE),
    "zeros_lowered": function(lambda x: torch.constant_pad_nd(x, [1, 2, 0, 1]), IMAGE),
    "twos": function(lambda x: F.pad(x, (1, 2), value=2.0), IMAGE),
    "twos_lowered": function(lambda x: torch.constant_pad_nd(x, [1, 2], 2.0), IMAGE),
    "infinite": function(lambda x: F.pad(x, (1, 2), value=-torch.inf), IMAGE),
    "channels": function(lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)), IMAGE),
    "cropped": function(lambda x: F.pad(x, (-1, -2), mode="constant", value=3.0), IMAGE),
}
passage = Passages({**REPEATING, **CONSTANT})


def uniform(scale: float, shift: float) -> ChannelMap:
    def full(value: float) -> Tensor:
        return torch.full([1] * 4, value)

    return ChannelMap.of(full(scale), full(shift))


@pytest.mark.parametrize("name", REPEATING)
def test_padding_with_what_is_there_lets_every_map_pass(name: str) -> None:
    assert passage(name).up(ANY) == PASSES
    assert passage(name).down(ANY) == PASSES


@pytest.mark.parametrize("name", ["zeros", "zeros_lowered"])
def test_zeros_stay_zeros_under_a_multiplication(name: str) -> None:
    assert passage(name).up(SCALE) == PASSES
    assert passage(name).down(SCALE) == PASSES


@pytest.mark.parametrize("name", ["zeros", "twos", "zeros_lowered", "twos_lowered"])
def test_each_channel_would_need_its_own_constant(name: str) -> None:
    assert str(BORDER) == "padding with one constant: at the border each channel would need its own"
    assert passage(name).up(SHIFT) == str(BORDER)
    assert passage(name).down(ANY) == str(BORDER)


@pytest.mark.parametrize("name", ["zeros", "twos", "zeros_lowered", "twos_lowered"])
def test_one_constant_is_mapped_by_one_number(name: str) -> None:
    assert passage(name).up(uniform(-3.0, 0.5)) == PASSES
    assert passage(name).down(uniform(-3.0, 0.5)) == PASSES


def test_the_constant_that_a_map_makes_the_old_one_of_may_be_the_same_for_all_channels() -> None:
    scale = torch.tensor([1.0, 2.0, 3.0, -4.0])
    fixing_two = ChannelMap.on_axis(scale, 2 - 2 * scale, 1, 4)
    assert passage("twos").up(fixing_two) == PASSES
    assert passage("twos").down(fixing_two) == PASSES


def test_minus_infinity_stays_it_under_positive_scales() -> None:
    assert passage("infinite").up(POSITIVE) == PASSES
    assert passage("infinite").down(POSITIVE) == PASSES
    assert passage("infinite").up(ANY) == str(BORDER)


def test_a_constant_behind_a_scale_of_zero_cannot_be_found() -> None:
    refusal = "padding of a value that is multiplied by zero"
    assert passage("twos").down(uniform(0.0, 1.0)) == refusal
    assert passage("twos").up(uniform(0.0, 1.0)) == PASSES


@pytest.mark.parametrize("name", ["reflect", "circular", "zeros"])
def test_a_map_that_varies_along_a_padded_axis_does_not_pass(name: str) -> None:
    refusal = "it varies along an axis that is padded"
    assert passage(name).up(SCALE, axes=(3,)) == refusal
    assert passage(name).down(SCALE, axes=(1, 3)) == refusal


def test_an_axis_that_is_not_padded_is_free() -> None:
    assert passage("twos").up(uniform(2.0, 1.0)) == PASSES
    assert passage("channels").up(SCALE, axes=(2, 3)) == PASSES
    assert passage("channels").down(SCALE, axes=(1,)) == "it varies along an axis that is padded"


def test_cropping_is_padding_too() -> None:
    assert passage("cropped").up(uniform(2.0, 1.0)) == PASSES
    assert passage("cropped").down(uniform(2.0, 1.0)) == PASSES
