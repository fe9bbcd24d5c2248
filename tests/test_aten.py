import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.aten import (
    add_parameter,
    argument,
    aten,
    constant,
    norm_calls,
    readers,
    remove_unread,
    replace_constant,
    standardizes_weight,
)
from bnconvert.capturing import capture
from tests.zoo import IMAGE, Net, build, trained


def captured(name: str) -> torch.fx.GraphModule:
    model, inputs = build(name)
    return capture(model, inputs).module


def nodes(module: torch.fx.GraphModule, target: object) -> list[torch.fx.Node]:
    return [node for node in module.graph.nodes if node.target is target]


def test_every_eval_norm_is_one_operator() -> None:
    for name in ("plain", "sync", "frozen_elsewhere", "functional", "series", "root_is_norm"):
        module = captured(name)
        assert len(nodes(module, aten.batch_norm.default)) == 1, name
        assert len(norm_calls(module)) == 1, name


def test_calls_of_one_norm_are_numbered() -> None:
    calls = norm_calls(captured("norm_called_twice"))
    assert [(call.owner, call.number) for call in calls] == [("norm", 1), ("norm", 2)]
    assert [call.obstacle for call in calls] == [None, None]


def test_the_owner_is_known_by_the_statistics_and_the_caller_by_the_call() -> None:
    class Borrowing(Net):
        def forward(self, x: Tensor) -> Tensor:
            n = self.norm
            return F.batch_norm(self.conv(x), n.running_mean, n.running_var, n.weight, n.bias)

    (call,) = norm_calls(capture(trained(Borrowing()), IMAGE).module)
    assert (call.owner, call.caller) == ("norm", "")
    (call,) = norm_calls(captured("plain"))
    assert (call.owner, call.caller) == ("norm", "norm")


def test_batch_statistics_are_an_obstacle_with_a_reason() -> None:
    (call,) = norm_calls(captured("without_statistics"))
    assert call.obstacle == "it has no running statistics: it normalizes by the batch's own"
    model, inputs = build("plain")
    model.norm.train()
    (call,) = norm_calls(capture(model, inputs).module)
    assert call.owner == "norm"
    assert call.obstacle is not None
    assert call.obstacle.startswith("it is in training mode")


def test_standardizing_a_weight_is_no_norm() -> None:
    module = captured("standardized_conv")
    assert [call.owner for call in norm_calls(module)] == ["norm"]
    assert sum(standardizes_weight(node) for node in module.graph.nodes) == 1


def test_arguments_are_read_by_name_with_their_defaults() -> None:
    (conv, _) = nodes(captured("plain"), aten.conv2d.default)
    assert argument(conv, "padding") == [1, 1]
    assert argument(conv, "groups") == 1
    assert argument(conv, "bias") is None
    with pytest.raises(KeyError, match="has no argument colour"):
        argument(conv, "colour")


def test_readers_are_found_through_shared_memory() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    model[1].weight = model[0].weight
    module = capture(model.eval(), IMAGE).module
    first, second, third = nodes(module, aten.conv2d.default)
    weight, other = constant(module, first.args[1]), constant(module, third.args[1])
    assert weight is not None
    assert other is not None
    assert readers(module, weight) == {first, second}
    assert readers(module, other) == {third}
    assert constant(module, first) is None
    assert constant(module, 3) is None


def test_a_new_parameter_takes_a_free_name() -> None:
    model, inputs = build("plain")
    model.conv.register_buffer("bias_folded", torch.zeros(1))
    module = capture(model, inputs).module
    module.conv.bias = nn.Parameter(torch.zeros(1))  # taken, by something that nothing reads
    module.conv.bias_folded = torch.zeros(1)
    conv, _ = nodes(module, aten.conv2d.default)
    node = add_parameter(module, conv.args[1], "bias", torch.ones(8))
    assert node.target == "conv.bias_folded_folded"
    assert torch.equal(module.conv.bias_folded_folded, torch.ones(8))


def test_a_replaced_constant_keeps_its_name_and_requires_grad() -> None:
    module = captured("plain")
    conv, _ = nodes(module, aten.conv2d.default)
    module.conv.weight.requires_grad_(False)
    replace_constant(module, conv.args[1], torch.zeros(8, 3, 3, 3))
    assert not module.conv.weight.any()
    assert isinstance(module.conv.weight, nn.Parameter)
    assert not module.conv.weight.requires_grad


def test_what_nothing_reads_is_removed() -> None:
    module = captured("plain")
    (norm,) = nodes(module, aten.batch_norm.default)
    norm.replace_all_uses_with(norm.args[0])
    module.graph.erase_node(norm)
    remove_unread(module)
    assert set(module.state_dict()) == {"conv.weight", "head.weight", "head.bias"}
    assert module(*IMAGE).shape == (2, 4, 8, 8)
