import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from bnconvert.graphs.aten import aten
from bnconvert.graphs.network import Network, channelwise
from bnconvert.layers.plan import Edit, Plan, Remapped, Repadded, Reweighted, Vanished
from bnconvert.numerics.channel_map import ChannelMap
from tests.excerpts import Excerpts, function, model
from tests.zoo import trained

IMAGE = (2, 4, 5, 5)
EXCERPTS = Excerpts(
    {
        "convs": model(
            lambda: nn.Sequential(*(nn.Conv2d(4, 4, 1, bias=i > 0) for i in range(5))), IMAGE
        ),
        "norms": model(lambda: trained(nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4))), IMAGE),
        "padded": function(lambda x: F.pad(x, (1, 1), value=3.0), IMAGE),
        "padded_lowered": function(lambda x: torch.constant_pad_nd(x, [1, 1]), IMAGE),
    }
)


def operators(network: Network, target: object) -> list[fx.Node]:
    return list(network.graph.find_nodes(op="call_function", target=target))


def doubling() -> ChannelMap:
    return ChannelMap.on_axis(torch.full((4,), 2.0), torch.arange(4.0), 1, 4)


def reweighted(node: fx.Node) -> Reweighted:
    return Reweighted(node, torch.ones(4, 4, 1, 1).double(), torch.arange(4.0).double())


def applied(network: Network, *edits: Edit) -> Tensor:
    Plan(edits).apply(network)
    network.commit()
    with torch.no_grad():
        result: Tensor = network.module(torch.ones(IMAGE).double())
    return result


def test_two_plans_about_one_operator_do_not_go_together() -> None:
    first, second, *_ = operators(Network(EXCERPTS["convs"]), aten.conv2d.default)
    both = Plan((reweighted(first),)).with_plan(Plan((reweighted(second),)))
    assert isinstance(both, Plan)
    assert [edit.node for edit in both.edits] == [first, second]
    assert both.with_plan(Plan((reweighted(second),))) == ("its ways meet again at 1 (conv2d)")


def test_remarks_stay_together_too() -> None:
    both = Plan(remarks=("one",)).with_plan(Plan(remarks=("two",)))
    assert isinstance(both, Plan)
    assert both.remarks == ("one", "two")


def test_the_first_three_places_are_named() -> None:
    convs = operators(Network(EXCERPTS["convs"]), aten.conv2d.default)
    edits = [reweighted(node) for node in convs]
    assert Plan().places == ""
    assert Plan((edits[0],)).places == "0 (conv2d)"
    assert Plan(tuple(edits)).places == "0 (conv2d), 1 (conv2d), 2 (conv2d) and 2 more"


def test_what_vanishes_is_removed_and_no_place() -> None:
    first, second = operators(Network(EXCERPTS["norms"]), aten.batch_norm.default)
    plan = Plan((Remapped(second, doubling()), Vanished(first)))
    assert plan.removes == (first,)
    assert plan.places == "1 (batch_norm)"


def test_a_layer_gets_another_weight_and_a_bias_that_it_had_not() -> None:
    network = Network(EXCERPTS["convs"])
    first, *rest = operators(network, aten.conv2d.default)
    output = applied(network, reweighted(first), *map(reweighted, rest))
    value = torch.ones(IMAGE).double()
    for _ in range(5):
        value = value.sum(1, keepdim=True) + torch.arange(4.0).reshape(1, -1, 1, 1)
    torch.testing.assert_close(output, value)


def test_an_operator_that_vanishes_leaves_what_it_read() -> None:
    network = Network(EXCERPTS["norms"])
    first, second = operators(network, aten.batch_norm.default)
    assert torch.equal(applied(network, Vanished(first), Vanished(second)), torch.ones(IMAGE))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_operator_gets_another_map_whatever_became_of_its_input(order: tuple[int, int]) -> None:
    network = Network(EXCERPTS["norms"])
    first, second = operators(network, aten.batch_norm.default)
    edits = Remapped(first, doubling()), Vanished(second)
    output = applied(network, *(edits[i] for i in order))
    assert len(operators(network, channelwise)) == 1
    expected = (2 + torch.arange(4.0)).double().reshape(1, -1, 1, 1).expand(IMAGE)
    assert torch.equal(output, expected)


@pytest.mark.parametrize("name", ["padded", "padded_lowered"])
def test_a_padding_gets_another_constant(name: str) -> None:
    network = Network(EXCERPTS[name])
    (node,) = [node for node in network.graph.nodes if node.op == "call_function"]
    output = applied(network, Repadded(node, -7.0))
    assert torch.equal(output, F.pad(torch.ones(IMAGE).double(), (1, 1), value=-7.0))
