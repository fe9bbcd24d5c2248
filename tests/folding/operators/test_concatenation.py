import pytest
import torch
from torch.nn import functional as F

from bnconvert.folding.operators.concatenation import Concatenation
from bnconvert.numerics.channel_map import ChannelMap
from tests.excerpts import function
from tests.folding.operators.passage import ANY, PASSES, SCALE, SHIFT, Passages

WIDE, NARROW = (2, 4, 3, 2), (2, 3, 3, 2)
passage = Passages(
    {
        "two": function(lambda x, y: torch.cat([x, y], 1), WIDE, NARROW),
        "three": function(lambda x, y, z: torch.cat([x, y, z], -3), WIDE, NARROW, WIDE),
        "rows": function(lambda x, y: torch.cat([x, y], 2), WIDE, WIDE),
        "batches": function(lambda x, y: torch.cat([x, y]), WIDE, WIDE),
        "twice": function(lambda x: torch.cat([x, x], 1), WIDE),
        "clipped": function(lambda x, y: torch.cat([F.silu(x), y], 1), WIDE, NARROW),
        "joined_again": function(
            lambda x, y: (torch.cat([x, y], 1), torch.cat([y, x], 1)), WIDE, NARROW
        ),
        "summed_again": function(
            lambda x, y: (torch.cat([x, y], 1), torch.cat([y, x], 1).sum(1)), WIDE, NARROW
        ),
        "swapped": function(lambda x: torch.cat(x.split(2, 1)[::-1], 1), WIDE),
    }
)
EMPTY = {
    "nothing_first": function(lambda x, y: torch.cat([torch.empty(0), x, y], 1), WIDE, NARROW),
    "nothing_between": function(lambda x, y: torch.cat([x, torch.zeros(0), y], 1), WIDE, NARROW),
    "nothing_last": function(lambda x, y: torch.cat([x, y, torch.ones(0)], -3), WIDE, NARROW),
    "nothing_of_four_axes": function(
        lambda x, y: torch.cat([x, torch.empty(2, 0, 3, 2), y], 1), WIDE, NARROW
    ),
}
fixed = Passages(EMPTY, dynamic=())
dynamic = Passages(
    {"two": function(lambda x, y: torch.cat([x, y], 1), WIDE, NARROW)}, dynamic=(0, 1)
)


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 3)])
@pytest.mark.parametrize("name", ["two", "three", "rows"])
def test_every_part_takes_its_share(name: str, axes: tuple[int, ...]) -> None:
    assert passage(name).up(ANY, axes) == PASSES


@pytest.mark.parametrize("name", ["two", "three", "rows"])
def test_the_map_of_one_part_is_none_for_the_others(name: str) -> None:
    for at in (0, 1):
        assert passage(name).down(ANY, at=at) == PASSES
        assert passage(name).down(ANY, axes=(1, 3), at=at) == PASSES


def test_all_parts_must_take_theirs() -> None:
    refusal = "its input is made by silu, not by a convolution or a linear layer"
    assert passage("clipped").up(ANY) == refusal
    assert passage("clipped").down(ANY, at=0) == "silu reads it"
    assert passage("clipped").down(ANY, at=1) == PASSES


def test_a_part_that_gets_nothing_is_not_asked() -> None:
    scale = torch.tensor([1.0, 1, 1, 1, 2, 3, -4])
    assert passage("clipped").up(ChannelMap.on_axis(scale, scale - 1, 1, 4)) == PASSES


def test_a_value_beside_itself_cannot_come_mapped_in_two_ways() -> None:
    assert passage("twice").up(ANY) == "it concatenates a value with itself"
    assert passage("twice").down(ANY) == PASSES


def test_two_parts_of_one_value_meet_again() -> None:
    refusal = "two paths from it meet again at channelwise"
    assert passage("swapped").up(ANY) == refusal
    assert passage("swapped").down(ANY) == refusal


def test_an_addition_to_one_part_is_taken_back_where_that_is_joined_again() -> None:
    shift = torch.tensor([1.0, -2, 3, 4, 0, 0, 0])
    assert passage("joined_again").up(ChannelMap.on_axis(shift**0, shift, 1, 4)) == PASSES


def test_one_map_cannot_take_back_additions_to_two_parts_and_is_not_asked_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a dense block every norm reads all parts: the question would be asked of each."""
    refusal = "two paths from it meet again at channelwise"
    assert passage("summed_again").up(SHIFT).startswith("its input is also read by")
    monkeypatch.setattr(Concatenation, "absorb_input_map", lambda *_: pytest.fail("asked"))
    assert passage("joined_again").up(SHIFT) == refusal


def test_parts_of_dynamic_size_take_a_map_that_does_not_vary_along_them() -> None:
    assert passage("batches").up(ANY) == PASSES
    assert dynamic("two").up(SCALE, axes=(2, 3)) == PASSES
    assert dynamic("two").up(SHIFT) == "it concatenates parts of dynamic size"
    refusal = "it is concatenated with parts of dynamic size"
    assert dynamic("two").down(SHIFT, at=1) == refusal
    assert passage("batches").down(SHIFT) == refusal


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_part_takes_no_share(name: str) -> None:
    """`torch.empty(0)` is joined with tensors of any number of axes, as if it were not there."""
    assert fixed(name).up(ANY) == PASSES
    assert fixed(name).up(SHIFT, axes=(0, 2)) == PASSES
    assert fixed(name).down(ANY, at=1) == PASSES
