from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from bnconvert.graphs.aten import argument, aten
from bnconvert.graphs.mutable_graph import MutableGraph, channelwise, constant
from bnconvert.numerics.channel_map import ChannelMap
from tests.excerpts import Excerpts, capture_of, model

ROWS = (2, 4)


def linears(count: int, tied: str = "", bias: bool = True) -> nn.Sequential:
    """Return layers in a row, whose weights or biases may be one."""
    layers = nn.Sequential(*(nn.Linear(4, 4, bias=bias) for _ in range(count)))
    for layer in layers if tied else ():
        setattr(layer, tied, getattr(layers[0], tied))
    return layers


EXCERPTS = Excerpts(
    {
        "two": model(lambda: linears(2), ROWS),
        "no_bias": model(lambda: linears(2, bias=False), ROWS),
        "tied": model(lambda: linears(3, "weight"), ROWS),
        "tied_bias": model(lambda: linears(2, "bias"), ROWS),
        "counted": model(lambda: Counted(), ROWS),
        "norms": model(lambda: nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4)), ROWS),
    }
)


class Counted(nn.Module):
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.tensor(3))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.count


def network_of(name: str) -> tuple[MutableGraph, list[fx.Node]]:
    """Return an excerpt as a network, and its linear layers."""
    module = EXCERPTS[name]
    target = aten.linear.default
    return MutableGraph(module), list(module.graph.find_nodes(op="call_function", target=target))


def weight_of(layer: fx.Node) -> fx.Node:
    weight = layer.args[1]
    assert isinstance(weight, fx.Node)
    return weight


def computed(graph: MutableGraph) -> Tensor:
    graph.commit()
    with torch.no_grad():
        result: Tensor = graph.module(torch.eye(4).double()[:2])
    return result


def halved() -> tuple[MutableGraph, fx.Node]:
    module = capture_of(nn.Linear(4, 4).half().eval(), (torch.ones(ROWS).half(),)).module
    (layer,) = module.graph.find_nodes(op="call_function", target=aten.linear.default)
    return MutableGraph(module), layer


def test_floating_point_constants_are_read_in_float64_and_others_as_they_are() -> None:
    graph, layer = halved()
    value = graph.constant(weight_of(layer))
    assert value is not None
    assert value.dtype is torch.float64
    assert not value.requires_grad
    graph = MutableGraph(EXCERPTS["counted"])
    (count,) = graph.fx_graph.find_nodes(op="get_attr")
    assert graph.constant(count).dtype is torch.int64  # type: ignore[union-attr]


@pytest.mark.parametrize("thing", [None, 3, "x"])
def test_what_is_no_constant_is_none(thing: object) -> None:
    graph, (first, _) = network_of("two")
    assert graph.constant(thing) is None
    assert graph.constant(first) is None


def test_who_shares_a_weight_is_known_by_its_memory() -> None:
    graph, (first, second) = network_of("two")
    assert graph.sharers(first, weight_of(first)) == set()
    graph, (first, second, third) = network_of("tied")
    assert graph.sharers(second, weight_of(second)) == {first, third}


def test_weights_that_overlap_in_memory_are_shared() -> None:
    module: Any = EXCERPTS["no_bias"]
    whole = torch.randn(6, 4)
    for layer, rows in zip(("0", "1"), (whole[:4], whole[2:]), strict=True):
        module.get_submodule(layer).weight = nn.Parameter(rows)
    graph = MutableGraph(module)
    first, second = module.graph.find_nodes(op="call_function", target=aten.linear.default)
    assert graph.sharers(first, weight_of(first)) == {second}


def test_a_weight_of_its_own_is_replaced_under_its_name() -> None:
    graph, (first, _) = network_of("two")
    names = set(graph.module.state_dict())
    graph.set_weights(first, torch.zeros(4, 4).double(), torch.arange(4.0).double())
    second = {k: v for k, v in graph.module.state_dict().items() if k.startswith("1.")}
    expected = torch.arange(4.0).double() @ second["1.weight"].T + second["1.bias"]
    torch.testing.assert_close(computed(graph), expected.expand(2, 4))
    assert set(graph.module.state_dict()) == names


def test_a_bias_comes_and_goes() -> None:
    graph, (first, second) = network_of("no_bias")
    eye = torch.eye(4).double()
    graph.set_weights(first, eye, torch.ones(4).double())
    graph.set_weights(second, eye, None)
    assert torch.equal(computed(graph), eye[:2] + 1)
    assert set(graph.module.state_dict()) == {"0.weight", "0.bias", "1.weight"}


def test_a_tied_weight_is_copied_and_the_others_keep_theirs() -> None:
    graph, layers = network_of("tied")
    old = graph.constant(weight_of(layers[0]))
    graph.set_weights(layers[1], torch.eye(4).double(), None)
    graph.commit()
    assert torch.equal(graph.constant(weight_of(layers[1])), torch.eye(4))  # type: ignore[arg-type]
    for layer in (layers[0], layers[2]):
        assert torch.equal(graph.constant(weight_of(layer)), old)  # type: ignore[arg-type]


def test_equal_copies_become_one_when_all_is_done() -> None:
    graph, layers = network_of("tied")
    for layer in layers:
        graph.set_weights(layer, torch.eye(4).double(), None)
    graph.commit()
    assert len({weight_of(layer) for layer in layers}) == 1
    assert len([name for name in graph.module.state_dict() if "weight" in name]) == 1


def test_copies_that_differ_stay_apart() -> None:
    graph, layers = network_of("tied")
    for number, layer in enumerate(layers):
        graph.set_weights(layer, torch.eye(4).double() * (number + 1), None)
    assert torch.equal(computed(graph), torch.eye(4).double()[:2] * 6)
    assert len({weight_of(layer) for layer in layers}) == 3


def test_a_tied_bias_is_copied_too() -> None:
    graph, (first, second) = network_of("tied_bias")
    old = graph.constant(argument(second, "bias"))
    graph.set_weights(first, torch.eye(4).double(), torch.ones(4).double())
    assert torch.equal(graph.constant(argument(first, "bias")), torch.ones(4))  # type: ignore[arg-type]
    assert torch.equal(graph.constant(argument(second, "bias")), old)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_weights_are_rounded_once_to_the_dtype_of_the_model(dtype: torch.dtype) -> None:
    linear = nn.Linear(4, 4).to(dtype)
    weight, bias = linear.weight.detach().double(), linear.bias.detach().double()
    module = capture_of(linear.eval(), (torch.ones(ROWS).to(dtype),)).module
    (layer,) = module.graph.find_nodes(op="call_function", target=aten.linear.default)
    graph, thirds = MutableGraph(module), torch.full((4, 4), 1 / 3).double()
    for _ in range(2):
        held = graph.constant(weight_of(layer)), graph.constant(layer.args[2])
        graph.set_weights(layer, held[0] * thirds, held[1] * thirds[0])  # type: ignore[operator]
    assert torch.equal(graph.constant(weight_of(layer)), weight * thirds * thirds)  # type: ignore[arg-type]
    graph.commit()
    assert module.weight.dtype is module.bias.dtype is dtype
    assert torch.equal(module.weight, (weight * thirds * thirds).to(dtype))
    assert torch.equal(module.bias, (bias * thirds[0] * thirds[0]).to(dtype))


def test_what_does_not_fit_the_dtype_is_known_before() -> None:
    graph, layer = halved()
    weight = weight_of(layer)
    assert graph.stays_finite(weight, torch.tensor([6e4]).double())
    for value in (7e4, torch.inf, torch.nan):
        assert not graph.stays_finite(weight, torch.tensor([value]).double())


def test_a_constant_takes_a_free_name_of_its_module_or_of_the_root() -> None:
    graph, (first, _) = network_of("no_bias")
    value: Any = torch.ones(3).double()

    def added(name: str, owner: str | None = None) -> str:
        return str(graph.add_constant(first, name, value, torch.float64, owner).target)

    assert added("bias") == "0.bias"
    assert added("bias", "0") == "0.bias_1"
    assert added("weight") == "0.weight_1"
    assert added("scale", "gone.module") == "scale"
    assert added("scale", "") == "scale_1"


def test_a_map_takes_the_place_of_an_operator() -> None:
    graph = MutableGraph(EXCERPTS["norms"])
    first, second = graph.fx_graph.find_nodes(op="call_function", target=aten.batch_norm.default)
    change = ChannelMap.on_axis(torch.full((4,), 2.0), torch.arange(4.0), 1, 2)
    new = graph.replace_by_map(second, first.args[0], change)
    assert new.target is channelwise
    assert torch.equal(computed(graph), 2 * torch.eye(4).double()[:2] + torch.arange(4.0))


def test_consumers_of_a_node_consume_the_other() -> None:
    graph = MutableGraph(EXCERPTS["norms"])
    first, second = graph.fx_graph.find_nodes(op="call_function", target=aten.batch_norm.default)
    source = first.args[0]
    graph.replace(first, source)
    assert second.args[0] is source


def test_what_has_no_consumer_any_more_is_removed() -> None:
    graph, (first, second) = network_of("two")
    graph.replace(second, first)
    graph.commit()
    assert set(graph.module.state_dict()) == {"0.weight", "0.bias"}


def test_the_bias_of_a_module_is_the_one_that_it_has_or_a_new_one() -> None:
    graph, (first, second) = network_of("two")
    assert graph.bias_of_owner(weight_of(first), first, torch.ones(4)) is first.args[2]
    graph, (first, second) = network_of("no_bias")
    bias = graph.bias_of_owner(weight_of(first), first, torch.ones(4))
    assert bias.target == "0.bias"
    assert graph.is_parameter(bias)
    assert graph.is_parameter(weight_of(second))
    graph = MutableGraph(EXCERPTS["counted"])
    (count,) = graph.fx_graph.find_nodes(op="get_attr")
    assert not graph.is_parameter(count)


def test_a_constant_is_read_from_the_module() -> None:
    graph, (layer, _) = network_of("two")
    assert constant(graph.module, layer.args[1]) is graph.module.get_parameter("0.weight")
    assert constant(graph.module, layer) is None
    assert constant(graph.module, 3) is None
