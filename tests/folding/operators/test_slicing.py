import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bnconvert.folding.operators.propagation import MapPropagator
from bnconvert.graphs.aten import aten
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.channel_map import ChannelMap
from tests.excerpts import function
from tests.folding.operators.passage import ANY, PASSES, SCALE, Passages

IMAGE = (2, 6, 5, 2)
END = 2**63 - 1


def cut(x: Tensor, start: int | None, end: int | None, step: int = 1, axis: int = 1) -> Tensor:
    """Cut an axis with one operator: x[:, start:end] cuts the batch with another one before."""
    y: Tensor = aten.slice.Tensor(x, axis, start, end, step)
    return y


PIECES = {
    "halves": function(lambda x: x.split(3, 1), IMAGE),
    "split": function(lambda x: x.split(4, -3), IMAGE),
    "sizes": function(lambda x: x.split([1, 3, 2], 1), IMAGE),
    "slices": function(lambda x: (cut(x, 0, 2), cut(x, 2, END)), IMAGE),
    "steps": function(lambda x: (cut(x, 0, END, 2), cut(x, 1, END, 2)), IMAGE),
    "from_the_end": function(lambda x: (cut(x, None, -2), cut(x, -2, None)), IMAGE),
}
passage = Passages(
    {
        **PIECES,
        "overlapping": function(lambda x: (cut(x, 0, 4), cut(x, 3, 6), cut(x, 5, 6)), IMAGE),
        "crossing": function(lambda x: (cut(x, 0, 4), cut(x, 3, 5, axis=2)), IMAGE),
        "also_whole": function(lambda x: (cut(x, 0, 4), F.silu(x)), IMAGE),
        "slice_and_split": function(lambda x: (cut(x, 0, 2), *x.split([3, 3], 1)), IMAGE),
        "one": function(lambda x: x[:, :3], IMAGE),
        "rows": function(lambda x: x[:, :, :3], IMAGE),
        "part": function(lambda x: x.split(3, 1)[0], IMAGE),
        "indexed": function(lambda x: F.max_pool2d(x, 2, return_indices=True)[0], IMAGE),
        "joined": function(lambda x: torch.cat(x.split(3, 1), 1), IMAGE),
    }
)
decomposed = Passages(
    {
        "chunk": function(lambda x: x.chunk(2, 1), IMAGE),
        "narrow": function(lambda x: (x.narrow(1, 0, 2), x.narrow(1, 2, 3)), IMAGE),
    }
)
dynamic = Passages(
    {
        "one": function(lambda x: x[:, :3], IMAGE),
        "two": function(lambda x: (cut(x, 0, 3), cut(x, 3, END)), IMAGE),
    },
    dynamic=(0, 1),
)


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("name", PIECES)
def test_a_piece_is_mapped_and_the_other_pieces_are_not(name: str, at: int) -> None:
    assert passage(name).up(ANY, at=at) == PASSES
    assert passage(name).up(ANY, axes=(1, 3), at=at) == PASSES


@pytest.mark.parametrize("name", PIECES)
def test_every_piece_takes_its_part_of_a_map(name: str) -> None:
    assert passage(name).down(ANY) == PASSES
    assert passage(name).down(ANY, axes=(1, 2)) == PASSES
    assert passage(name).down(SCALE, axes=(3,)) == PASSES


@pytest.mark.parametrize("name", ["chunk", "narrow"])
def test_chunks_are_pieces_too(name: str) -> None:
    assert decomposed(name).up(ANY, at=1) == PASSES
    assert decomposed(name).down(ANY) == PASSES


def test_what_another_piece_reads_too_is_not_mapped() -> None:
    assert passage("overlapping").up(ANY, at=0) == "its input is also read by slice"
    assert passage("overlapping").up(ANY, at=1) == "its input is also read by slice"
    assert passage("overlapping").down(ANY) == PASSES


def test_pieces_along_other_axes_overlap() -> None:
    assert passage("crossing").up(ANY, at=0) == "its input is also read by slice"
    assert passage("crossing").up(ANY, at=1) == "its input is also read by slice"
    assert passage("crossing").down(ANY) == PASSES


def test_what_reads_the_whole_overlaps_every_piece() -> None:
    assert passage("also_whole").up(ANY) == "its input is also read by silu"


def test_a_slice_and_a_part_of_a_split_are_compared_too() -> None:
    assert passage("slice_and_split").up(ANY, at=2) == PASSES
    assert passage("slice_and_split").up(ANY, at=0) == "its input is also read by getitem"


@pytest.mark.parametrize("name", ["one", "part", "rows"])
def test_an_only_piece_hands_up_what_it_is_asked(name: str) -> None:
    for axes in ((), (1,), (2, 3)):
        assert passage(name).up(ANY, axes) == PASSES


def test_a_piece_of_an_axis_of_dynamic_size_is_known_along_others_only() -> None:
    refusal = "it is a piece of an axis of dynamic size"
    assert dynamic("one").up(ANY, axes=(2, 3)) == PASSES
    assert dynamic("one").up(ANY, axes=(1,)) == refusal
    assert dynamic("two").up(ANY, axes=(2,)) == refusal
    assert dynamic("two").down(ANY, axes=(2,)) == PASSES
    assert dynamic("two").down(ANY, axes=(1,)) == refusal


def test_a_result_of_another_operator_is_no_piece() -> None:
    assert passage("indexed").up(ANY) == (
        "it is one of the results of aten.max_pool2d_with_indices.default"
    )


def test_a_list_of_pieces_is_no_value() -> None:
    graph = MutableGraph(passage["joined"])
    (split,) = graph.fx_graph.find_nodes(op="call_function", target=aten.split.Tensor)
    change = ChannelMap.on_axis(torch.full((6,), 2.0), torch.zeros(6), 1, 4)
    assert str(MapPropagator(graph).absorb_output_map(split, change)) == "it is a list of pieces"
    (joined,) = graph.fx_graph.find_nodes(op="call_function", target=aten.cat.default)
    joined.args = (split, 1)
    assert str(MapPropagator(graph).into_consumers(split.args[0], change)) == (
        "a list of pieces that is read as a whole"
    )
