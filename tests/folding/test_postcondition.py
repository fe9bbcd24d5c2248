import pytest
from torch import fx, nn

from bnconvert.folding.outcome import NormOutcome
from bnconvert.folding.postcondition import interface_of, require_sound
from bnconvert.graphs.aten import aten, norm_calls
from bnconvert.graphs.mutable_graph import channelwise
from tests.excerpts import Excerpts, model

EXCERPTS = Excerpts(
    {"block": model(lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), (2, 4))}
)


def the_norm(module: fx.GraphModule) -> fx.Node:
    result: fx.Node = next(
        iter(module.graph.find_nodes(op="call_function", target=aten.batch_norm.default))
    )
    return result


def test_a_graph_that_nobody_touched_is_sound() -> None:
    module = EXCERPTS["block"]
    require_sound(module, interface_of(module), [NormOutcome(c) for c in norm_calls(module)])


def test_a_norm_that_is_reported_as_folded_and_stands_is_a_fault() -> None:
    module = EXCERPTS["block"]
    outcomes = [NormOutcome(call, "direct", "into 0 (linear)") for call in norm_calls(module)]
    with pytest.raises(AssertionError, match="1 is reported as folded and stands"):
        require_sound(module, interface_of(module), outcomes)


def test_another_output_is_a_fault() -> None:
    module = EXCERPTS["block"]
    before, norm = interface_of(module), the_norm(module)
    module.graph.output_node().args = ((norm, norm),)
    with pytest.raises(AssertionError, match="inputs or outputs"):
        require_sound(module, before, [])


def test_a_map_that_is_no_operator_yet_is_a_fault() -> None:
    module = EXCERPTS["block"]
    the_norm(module).target = channelwise
    with pytest.raises(AssertionError, match="no operator yet"):
        require_sound(module, interface_of(module), [])


def test_a_constant_that_is_not_rounded_is_a_fault() -> None:
    module = EXCERPTS["block"]
    weight = nn.Parameter(module.get_parameter("0.weight").half(), requires_grad=False)
    module.get_submodule("0").weight = weight
    with pytest.raises(AssertionError, match=r"0\.weight is not rounded to torch\.float64"):
        require_sound(module, interface_of(module), [])
