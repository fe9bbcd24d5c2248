"""Layers absorb maps by one rule; what differs between them is tested beside each."""

import pytest
import torch
from torch import fx, nn

from bnconvert.errors import Refusal
from bnconvert.folding.operators.conv import Conv
from bnconvert.folding.operators.conv_transpose import ConvTranspose
from bnconvert.folding.operators.linear import Linear
from bnconvert.folding.operators.propagation import OPERATOR_RULES, MapPropagator
from bnconvert.folding.operators.weighted_rule import WeightedRule
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.channel_map import ChannelMap
from tests.excerpts import Excerpts, model

RULES: dict[str, WeightedRule] = {
    "conv": Conv(),
    "conv_transpose": ConvTranspose(),
    "linear": Linear(),
}
EXCERPTS = Excerpts(
    {
        "conv": model(lambda: nn.Conv1d(4, 4, 1), (2, 4, 5)),
        "conv_transpose": model(lambda: nn.ConvTranspose1d(4, 4, 1), (2, 4, 5)),
        "linear": model(lambda: nn.Linear(4, 4), (2, 4)),
    }
)


def layer(name: str) -> tuple[MapPropagator, fx.Node]:
    graph = MutableGraph(EXCERPTS[name])
    (node,) = graph.fx_graph.output_node().all_input_nodes
    return MapPropagator(graph), node


def test_every_layer_with_weights_follows_the_rule() -> None:
    weighted = [type(rule) for rule in OPERATOR_RULES if isinstance(rule, WeightedRule)]
    assert weighted == [type(rule) for rule in RULES.values()]


@pytest.mark.parametrize("name", RULES)
def test_a_map_of_the_weight_itself_is_refused(name: str) -> None:
    propagator, node = layer(name)
    weight = node.args[1]
    assert isinstance(weight, fx.Node)
    none = ChannelMap.identity(len(weight.meta["val"].shape))
    refusal = RULES[name].absorb_input_map(propagator, node, weight, none)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "not-the-input"


@pytest.mark.parametrize("name", RULES)
def test_a_map_of_the_input_is_refused_where_the_weight_is_computed(name: str) -> None:
    propagator, node = layer(name)
    source, weight = node.args[:2]
    assert isinstance(source, fx.Node)
    node.args = (source, source, *node.args[2:])
    none = ChannelMap.identity(len(source.meta["val"].shape))
    verdict = RULES[name].absorb_input_map(propagator, node, source, none)
    assert isinstance(verdict, Refusal)
    assert verdict.code == "computed-in-forward"
    assert weight is not source


def test_a_map_along_another_axis_is_refused_by_its_number() -> None:
    _, node = layer("conv")
    lengthwise = ChannelMap.on_axis(torch.rand(5), torch.rand(5), 2, 3)
    assert RULES["conv"].other_axis(node, lengthwise, 1) == Refusal(
        "other-axis", "it varies along axis 2, the layer's channels are axis 1"
    )
    said = "the convolution has no batch axis: the norm's axis 1 is not its channels"
    assert RULES["conv"].other_axis(node, lengthwise, 0) == Refusal("other-axis", said)
