from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from bnconvert.folding.operators import propagation
from bnconvert.folding.operators.affine import AffineRule
from bnconvert.folding.operators.graph_plan import GraphPlan
from bnconvert.folding.operators.propagation import OPERATOR_RULES, MapPropagator, rule_of
from bnconvert.graphs.aten import aten
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.channel_map import ChannelMap
from tests.excerpts import Applied, Modules, Sketch, function, model
from tests.folding.operators.passage import (
    ANY,
    PASSES,
    POSITIVE_SCALE,
    SCALE,
    SHIFT,
    Passages,
)

IMAGE = (2, 4, 6, 6)


def convolved(applied: Callable[..., Any], **padding: int) -> Sketch:
    """Sketch a function of an input and of convolutions by name, with so much padding."""
    return model(
        lambda: Applied(applied, **{n: nn.Conv2d(4, 4, 3, padding=p) for n, p in padding.items()}),
        IMAGE,
    )


def halves(m: Modules, x: Tensor) -> tuple[Tensor, Tensor]:
    """Average what the first makes, which the second reads too."""
    y = m.first(x)
    return F.avg_pool2d(y, 2), m.second(y)


def meeting(m: Modules, x: Tensor) -> Tensor:
    y = m.first(x)
    output: Tensor = y + F.avg_pool2d(m.second(y), 1)
    return output


def looping(m: Modules, x: Tensor) -> tuple[Tensor, Tensor]:
    """Average what is read twice more, by what meets again."""
    y = m.first(x)
    return F.avg_pool2d(y, 2), m.second(y + F.avg_pool2d(y, 1))


passage = Passages(
    {
        "two_readers": convolved(lambda m, x: (m.a(x), m.b(x)), a=0, b=0),
        "one_pads": convolved(lambda m, x: (m.a(x), m.b(x)), a=0, b=1),
        "one_is_another": convolved(lambda m, x: (m.a(x), F.silu(x)), a=0),
        "rectified": function(F.relu, IMAGE),
        "taken_back": convolved(halves, first=0, second=0),
        "not_taken_back": convolved(halves, first=0, second=1),
        "meeting": convolved(meeting, first=0, second=1),
        "looping": convolved(looping, first=0, second=0),
        "returned": convolved(lambda m, x: (F.avg_pool2d(x, 2), m.a(x)), a=0),
        "crowd": function(
            lambda x: (F.avg_pool2d(x, 2), x.sin(), x.cos(), x.tan(), x.exp(), x.sin()), IMAGE
        ),
        "chain": convolved(lambda m, x: F.avg_pool1d(m.a(x).flatten(2), 2).unsqueeze(1), a=0),
        "constant": model(
            lambda: Applied(
                lambda m, x: torch.cat([m.k.expand(2, -1), x]), k=nn.Parameter(torch.ones(1, 4))
            ),
            (2, 4),
        ),
        "infinite": function(lambda x: F.relu(x) + torch.inf, IMAGE),
        "whole_numbers": function(lambda x: x.argmax(1) + 1, IMAGE),
        "overflowing_product": function(lambda x: F.relu(x) * torch.inf, IMAGE),
    }
)
numbers = Passages(
    {
        "size": function(lambda x: F.relu(x) + x.shape[0], IMAGE),
        "part_of_a_size": function(lambda x: F.relu(x) + x.shape[0] * 0.5, IMAGE),
        "size_subtracted": function(lambda x: F.relu(x) - x.shape[0], IMAGE),
        "comparison": function(lambda x: F.relu(x) + (x.shape[0] > 1), IMAGE),
        "factor_of_a_summand": function(
            lambda x: torch.add(F.relu(x), x.sin(), alpha=x.shape[0]), IMAGE
        ),
        "size_as_factor": function(lambda x: F.relu(x) * (x.shape[0] * 0.5), IMAGE),
    }
)


def raw(name: str) -> tuple[MapPropagator, fx.Node]:
    """Return the way through an excerpt without open ends, and its result."""
    graph = MutableGraph(passage[name])
    return MapPropagator(graph), graph.fx_graph.output_node().all_input_nodes[0]


def mapping() -> ChannelMap:
    return ChannelMap.on_axis(torch.full((4,), 2.0), torch.ones(4), 1, 4)


def test_no_two_layers_are_about_one_operator() -> None:
    targets = [target for layer in (*OPERATOR_RULES, AffineRule()) for target in layer.targets]
    shared = {aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor}  # of two values or of a constant
    assert len(targets) - len(set(targets)) == len(shared)


def test_nothing_is_asked_for_nothing() -> None:
    propagator, result = raw("infinite")
    none = ChannelMap.identity(4)
    for plan in (
        propagator.absorb_output_map(result, none),
        propagator.into_producer(result, result, none),
    ):
        assert isinstance(plan, GraphPlan)
        assert plan.edits == ()
    assert isinstance(propagator.into_consumers(result, none), GraphPlan)


def test_all_readers_of_a_value_do_without_its_map() -> None:
    assert passage("two_readers").down(ANY) == PASSES


def test_one_reader_that_cannot_is_the_reason() -> None:
    assert passage("one_pads").down(SCALE) == PASSES
    assert passage("one_pads").down(SHIFT) == (
        "b (conv2d) reads it: zero padding: at the border its addition would be left out"
    )
    assert passage("one_is_another").down(SCALE) == "silu reads it"
    assert passage("rectified").down(SCALE) == "an activation (relu): only positive scales pass it"


def test_a_search_that_ends_with_the_last_step_keeps_its_own_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(propagation, "_MOST_STEPS", 1)
    assert passage("one_is_another").down(SCALE) == "silu reads it"
    monkeypatch.setattr(propagation, "_MOST_STEPS", 0)
    assert "the search for layers to fold it into was ended" in passage("two_readers").down(SCALE)


def test_what_others_read_too_is_not_scaled() -> None:
    assert passage("taken_back").up(SCALE) == "its input is also read by second (conv2d)"


def test_an_addition_is_taken_back_in_the_weights_of_the_other_reader() -> None:
    assert passage("taken_back").up(SHIFT) == PASSES
    assert passage("not_taken_back").up(SHIFT) == "its input is also read by second (conv2d)"


def test_an_addition_is_not_taken_back_in_another_map() -> None:
    """It would only have moved, and could move for ever."""
    propagator, _ = raw("returned")
    (pool,) = propagator.graph.fx_graph.find_nodes(
        op="call_function", target=aten.avg_pool2d.default
    )
    with propagator.graph.fx_graph.inserting_after(pool.args[0]):
        other = propagator.graph.fx_graph.call_function(aten.mul.Tensor, (pool.args[0], 2.0))
    other.meta = dict(pool.args[0].meta)
    refusal = propagator.into_producer(pool.args[0], pool, SHIFT.on(torch.ones(IMAGE), (1,)))
    assert str(refusal) == "its input is also read by a (conv2d), mul"


def test_an_addition_goes_the_way_that_is_open() -> None:
    assert passage("meeting").up(SHIFT) == PASSES
    assert passage("meeting").up(ANY) == "its input is also read by second (conv2d)"


def test_an_addition_is_not_sent_round_a_loop() -> None:
    assert passage("looping").up(SHIFT) == "its input is also read by add, avg_pool2d"


def test_of_many_other_readers_three_are_named() -> None:
    assert passage("crowd").up(SCALE) == "its input is also read by cos, exp, sin and 1 more"


def test_who_reads_a_shape_only_is_no_reader() -> None:
    propagator, _ = raw("taken_back")
    first, second = propagator.graph.fx_graph.find_nodes(
        op="call_function", target=aten.conv2d.default
    )
    (pool,) = propagator.graph.fx_graph.find_nodes(
        op="call_function", target=aten.avg_pool2d.default
    )
    second.replace_input_with(first, first.args[0])
    assert isinstance(propagator.into_producer(first, pool, mapping()), GraphPlan)
    with propagator.graph.fx_graph.inserting_after(first):
        propagator.graph.fx_graph.call_function(aten.sym_size.int, (first, 0))
    assert isinstance(propagator.into_producer(first, pool, mapping()), GraphPlan)


def test_a_map_goes_through_many_layers() -> None:
    assert passage("chain").up(ANY, axes=(2,)) == PASSES
    assert passage("chain").down(SCALE) == PASSES


def test_the_ends_of_a_graph_are_named() -> None:
    propagator, result = raw("taken_back")
    (x,) = propagator.graph.fx_graph.find_nodes(op="placeholder")
    made = "its input is made by {}, not by a convolution or a linear layer"
    assert str(propagator.absorb_output_map(x, mapping())) == made.format(
        f"the model's input {x.name}"
    )
    assert str(propagator.into_consumers(result, mapping())) == "the model's output reads it"
    propagator, result = raw("constant")
    (k,) = propagator.graph.fx_graph.find_nodes(op="get_attr")
    assert str(propagator.absorb_output_map(k, mapping())) == made.format("a constant")


@pytest.mark.parametrize("name", ["infinite", "whole_numbers", "overflowing_product"])
def test_a_number_is_no_second_value(name: str) -> None:
    """Such as ids + 1, which are no numbers that a map could change."""
    propagator, result = raw(name)
    operator = "mul" if name == "overflowing_product" else "add"
    assert rule_of(propagator.graph, result) is None
    assert str(propagator.absorb_output_map(result, mapping())) == (
        f"its input is made by {operator}, not by a convolution or a linear layer"
    )
    assert (
        str(propagator.into_consumers(result.all_input_nodes[0], mapping()))
        == f"{operator} reads it"
    )


@pytest.mark.parametrize("name", list(numbers.sketches)[:-1])
def test_a_computed_number_is_no_summand_that_a_map_could_change(name: str) -> None:
    operator = "sub" if name == "size_subtracted" else "add"
    made = f"its input is made by {operator}, not by a convolution or a linear layer"
    assert numbers(name).up(ANY) == made
    assert numbers(name).up(SHIFT) == made


def test_a_scale_passes_a_product_with_a_computed_number() -> None:
    assert numbers("size_as_factor").up(POSITIVE_SCALE) == PASSES
    assert numbers("size_as_factor").down(POSITIVE_SCALE) == PASSES
    refusal = "a product of two values: an addition does not pass it"
    assert numbers("size_as_factor").up(SHIFT) == refusal
