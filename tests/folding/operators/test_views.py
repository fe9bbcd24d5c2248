from itertools import combinations
from math import prod

import pytest
import torch

from bnconvert.errors import Refusal
from bnconvert.folding.operators.views import reshaped
from bnconvert.numerics.channel_map import ChannelMap
from tests.excerpts import function
from tests.folding.operators.passage import (
    ANY,
    PASSES,
    POSITIVE_SCALE,
    SCALE,
    SHIFT,
    Passage,
    Passages,
)

IMAGE, SEQUENCES = (2, 6, 3, 2), (2, 3, 4)
RESHAPED = {
    "flatten": function(lambda x: x.flatten(1), IMAGE),
    "pixels": function(lambda x: x.flatten(2), IMAGE),
    "unsqueeze": function(lambda x: x.unsqueeze(1), IMAGE),
    "squeeze": function(lambda x: x.mean(2, True).squeeze(2), IMAGE),
    "squeeze_all": function(lambda x: x.mean((2, 3), True).squeeze(), IMAGE),
    "squeeze_some": function(lambda x: x.mean((2, 3), True).squeeze((2, 3)), IMAGE),
    "reshape": function(lambda x: x.transpose(1, 2).reshape(-1, 3, 12), IMAGE),
    "clone": function(lambda x: x.clone(), IMAGE),
    "contiguous": function(lambda x: x.transpose(1, 3).contiguous(), IMAGE),
    "detach": function(lambda x: x.detach(), IMAGE),
}
DECOMPOSED = {
    "flatten_decomposed": function(lambda x: x.flatten(1), IMAGE),
    "reshape_decomposed": function(lambda x: x.transpose(1, 2).reshape(-1, 3, 12), IMAGE),
    "contiguous_decomposed": function(lambda x: x.transpose(1, 3).contiguous(), IMAGE),
    "unflatten": function(lambda x: x.unflatten(1, (2, 3)), IMAGE),
    "movedim": function(lambda x: x.movedim(1, -1), IMAGE),
}
PERMUTED = {
    "permute": function(lambda x: x.permute(0, 2, -1, 1), IMAGE),
    "transpose": function(lambda x: x.transpose(-1, 1), IMAGE),
    "t": function(lambda x: x.t(), (2, 5)),
}
CHANNEL_SHUFFLE = {
    "shuffle": function(
        lambda x: x.view(-1, 2, 3, 3, 2).transpose(1, 2).reshape(-1, 6, 3, 2), IMAGE
    )
}
plain = Passages(
    {
        **RESHAPED,
        **CHANNEL_SHUFFLE,
        "merged": function(lambda x: x.reshape(-1, 4), SEQUENCES),
        "there_and_back": function(lambda x: x.reshape(-1, 4).view(-1, 3, 4), SEQUENCES),
        "heads": function(lambda x: x.reshape(-1, 2, 6).view(-1, 6, 3, 2), IMAGE),
        "heads_split_anew": function(
            lambda x: x.reshape(-1, 3, 6).reshape(-1, 2, 9).reshape(-1, 6, 3, 2), IMAGE
        ),
        "samples_as_groups": function(
            lambda x: x.reshape(1, -1, 3, 2).permute(1, 0, 2, 3).reshape(-1, 6, 3, 2), IMAGE
        ),
        "heads_activated": function(lambda x: x.reshape(-1, 2, 6).relu().view(-1, 6, 3, 2), IMAGE),
        "repeated": function(lambda x: x.unsqueeze(1).expand(-1, 3, -1, -1, -1), IMAGE),
        "repeated_batch": function(lambda x: x.mean(0).expand(3, -1, -1, -1), IMAGE),
        "as_large": function(lambda x: x.mean((2, 3), True).expand(-1, -1, 3, 2), IMAGE),
    }
)
decomposed = Passages(DECOMPOSED)
fixed = Passages(PERMUTED, dynamic=())


def passage(name: str) -> Passage:
    return (decomposed if name in DECOMPOSED else plain)(name)


@pytest.mark.parametrize("name", RESHAPED | CHANNEL_SHUFFLE | DECOMPOSED)
def test_a_map_is_reshaped_like_the_value(name: str) -> None:
    assert passage(name).up(ANY) == PASSES
    assert passage(name).down(ANY) == PASSES


@pytest.mark.parametrize("name", PERMUTED)
def test_a_map_is_permuted_like_the_value(name: str) -> None:
    for axes in ((0,), (1,), (0, 1)):
        assert fixed(name).up(ANY, axes) == PASSES
        assert fixed(name).down(ANY, axes) == PASSES


def test_a_dynamic_batch_and_another_axis_go_together() -> None:
    assert passage("merged").up(ANY) == PASSES
    assert passage("merged").down(ANY, axes=(2,)) == PASSES
    assert passage("there_and_back").up(ANY, axes=(2,)) == PASSES
    assert passage("there_and_back").down(ANY, axes=(2,)) == PASSES


def test_a_map_that_would_repeat_where_it_is_absorbed_is_refused() -> None:
    refusal = "it varies along an axis whose size is dynamic"
    assert passage("merged").down(SHIFT, axes=(1,)) == refusal
    assert passage("heads_activated").up(POSITIVE_SCALE) == refusal
    assert passage("heads_activated").down(POSITIVE_SCALE) == refusal


@pytest.mark.parametrize("name", ["heads", "heads_split_anew", "samples_as_groups"])
def test_channels_that_join_the_batch_and_leave_it_again_keep_their_map(name: str) -> None:
    assert passage(name).up(ANY) == PASSES
    assert passage(name).down(ANY) == PASSES


def test_heads_that_are_joined_with_the_batch_have_their_parts_of_the_map_in_turn() -> None:
    samples = passage("heads").graph.fx_graph.find_nodes(op="placeholder")[0].meta["val"].shape[0]
    change = ChannelMap.on_axis(torch.arange(1.0, 7), torch.zeros(6), 1, 4)
    moved = reshaped(change, (samples, 6, 3, 2), (samples * 3, 2, 6))
    assert isinstance(moved, ChannelMap)
    assert moved.scale.flatten(1).tolist() == [[1, 2], [3, 4], [5, 6]]


def test_a_dynamic_size_that_is_one_in_the_example_is_no_axis_of_size_one() -> None:
    samples = passage("heads").graph.fx_graph.find_nodes(op="placeholder")[0].meta["val"].shape[0]
    change = ChannelMap.on_axis(torch.arange(1.0, 5), torch.zeros(4), 1, 2)
    moved = reshaped(change, (samples, 4), (samples // 2, 8))
    assert isinstance(moved, ChannelMap)
    assert moved.scale.tolist() == [[1, 2, 3, 4] * 2]


@pytest.mark.parametrize("rows", [4, 9])
def test_a_map_that_neither_repeats_in_rows_nor_fills_them_is_refused(rows: int) -> None:
    samples = passage("heads").graph.fx_graph.find_nodes(op="placeholder")[0].meta["val"].shape[0]
    change = ChannelMap.on_axis(torch.arange(6.0), torch.zeros(6), 1, 2)
    refusal = reshaped(change, (samples * rows, 6), (samples * 6, rows))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "dynamic-size"


def test_a_map_passes_repetition_where_it_does_not_vary_along_it() -> None:
    assert passage("repeated").up(ANY, axes=(2, 3)) == PASSES
    assert passage("repeated").down(ANY, axes=(1, 2)) == PASSES
    assert passage("repeated_batch").up(ANY, axes=(1, 2)) == PASSES
    assert passage("repeated_batch").down(ANY) == PASSES
    assert passage("as_large").up(ANY) == PASSES
    assert passage("as_large").down(SCALE) == PASSES


@pytest.mark.parametrize(("name", "axis"), [("repeated", 1), ("repeated_batch", 0)])
def test_what_is_repeated_cannot_differ_from_place_to_place(name: str, axis: int) -> None:
    refusal = "it varies along an axis on which a value is repeated"
    assert passage(name).up(SHIFT, axes=(axis,)) == refusal
    assert passage("as_large").up(SHIFT, axes=(2,)) == refusal


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((2, 4, 1, 1), (2, 4)),
        ((2, 4), (2, 1, 4, 1)),
        ((2, 1, 4), (2, 4)),
        ((1, 1, 4), (4,)),
        ((1, 4), (1, 1, 4)),
        ((2, 3, 4), (6, 4)),
        ((6, 4), (2, 3, 4)),
        ((2, 3, 4), (4, 3, 2)),
        ((2, 6, 5), (4, 3, 5)),
        ((2, 3, 4, 5), (2, 12, 5)),
        ((4,), (2, 2)),
        ((1, 1), (1,)),
        ((1,), (1, 1, 1)),
    ],
)
def test_the_reshaped_map_of_the_reshaped_value_is_the_mapped_value_reshaped(
    before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    value = torch.arange(prod(before)).double().reshape(before)
    for count in range(len(before) + 1):
        for axes in combinations(range(len(before)), count):
            change = ANY.on(value, axes)
            moved = reshaped(change, before, after)
            assert not isinstance(moved, Refusal)
            actual = moved.scale * value.reshape(after) + moved.shift
            expected = (change.scale * value + change.shift).reshape(after)
            assert torch.equal(actual, expected)
