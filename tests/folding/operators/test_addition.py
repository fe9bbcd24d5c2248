import pytest
import torch
from torch.nn import functional as F

from tests.excerpts import function
from tests.folding.operators.passage import ANY, PASSES, SCALE, SHIFT, Passages

IMAGE = (2, 4, 3, 2)
SUMS = {
    "sum": function(torch.add, IMAGE, IMAGE),
    "difference": function(torch.sub, IMAGE, IMAGE),
    "weighed": function(lambda x, y: torch.add(x, y, alpha=-3), IMAGE, IMAGE),
    "weighed_difference": function(lambda x, y: torch.sub(x, y, alpha=2), IMAGE, IMAGE),
}
CLIPPED = "its input is made by silu, not by a convolution or a linear layer"
passage = Passages(
    {
        **SUMS,
        "clipped_first": function(lambda x, y: torch.sub(F.silu(x), y, alpha=2), IMAGE, IMAGE),
        "clipped_second": function(lambda x, y: torch.sub(x, F.silu(y), alpha=2), IMAGE, IMAGE),
        "clipped_both": function(lambda x, y: F.silu(x) + F.silu(y), IMAGE, IMAGE),
        "doubled": function(lambda x: x + x, IMAGE),
        "vanishing": function(lambda x, y: torch.add(x, y, alpha=0), IMAGE, IMAGE),
        "pixels": function(lambda x, y: x + y[:, :, :1], IMAGE, IMAGE),
        "one_channel": function(lambda x, y: x + y[:, :1], IMAGE, IMAGE),
        "fewer_axes": function(lambda x, y: x + y.mean(0), IMAGE, IMAGE),
        "rows_of_sequences": function(lambda x, y: x + y.permute(2, 0, 1), (2, 4), (2, 4, 3)),
    }
)


@pytest.mark.parametrize("name", SUMS)
def test_both_summands_are_scaled_and_one_is_shifted(name: str) -> None:
    assert passage(name).up(ANY) == PASSES
    assert passage(name).up(SHIFT, axes=(1, 3)) == PASSES


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("name", SUMS)
def test_an_addition_to_a_summand_is_one_to_the_sum(name: str, at: int) -> None:
    assert passage(name).down(SHIFT, at=at) == PASSES
    assert passage(name).down(SCALE, at=at) == (
        "a sum with another value, which would have to be scaled too"
    )


@pytest.mark.parametrize(("name", "at"), [("clipped_first", 1), ("clipped_second", 0)])
def test_a_summand_that_cannot_be_mapped_leaves_the_addition_to_the_other(
    name: str, at: int
) -> None:
    assert passage(name).up(SHIFT) == PASSES
    assert passage(name).up(SCALE) == CLIPPED
    assert passage(name).down(SHIFT, at=at) == PASSES


def test_an_addition_that_no_summand_takes_is_refused() -> None:
    assert passage("clipped_both").up(SHIFT) == CLIPPED


def test_a_value_added_to_itself_is_refused() -> None:
    assert passage("doubled").up(ANY) == "it adds a value to itself"
    assert passage("doubled").down(SHIFT) == "it adds a value to itself"


def test_a_summand_that_does_not_count_takes_no_addition() -> None:
    assert passage("vanishing").up(ANY) == PASSES
    assert passage("vanishing").down(SHIFT, at=1) == "it adds a value to itself"


def test_a_summand_without_the_channels_of_the_map_is_broadcast() -> None:
    assert passage("one_channel").up(SCALE) == "a summand is broadcast"
    assert passage("one_channel").up(SHIFT) == PASSES
    assert passage("pixels").up(ANY) == PASSES
    assert passage("pixels").up(SCALE, axes=(2,)) == "a summand is broadcast"


def test_a_broadcast_summand_hands_its_addition_down() -> None:
    assert passage("one_channel").down(SHIFT, axes=(3,), at=1) == PASSES
    assert passage("fewer_axes").up(SHIFT) == "a summand is broadcast"
    assert passage("fewer_axes").down(SHIFT, at=1) == PASSES


def test_an_addition_to_fewer_axes_stays_on_the_last_of_them() -> None:
    """Axis 1 of the rows is axis 2 of the sum: its features, not its channels."""
    assert passage("rows_of_sequences").down(SHIFT, at=0) == PASSES
