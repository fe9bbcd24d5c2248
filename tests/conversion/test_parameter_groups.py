"""Every trainable parameter is in one group; biases and those of norms do not decay."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import bnconvert as bnc
from bnconvert.conversion.parameter_groups import norm_parameters
from tests.zoo import Net, trained


def test_every_trainable_parameter_is_in_one_group_and_norms_and_biases_do_not_decay() -> None:
    model = nn.ModuleDict(
        {
            "net": trained(Net()),
            "layer": nn.LayerNorm(4),
            "attention": nn.MultiheadAttention(4, 2),
            "unused": nn.Linear(3, 3).requires_grad_(False),
        }
    )
    tied = nn.Linear(1, 1)
    model["tied"] = tied
    tied.weight = model.get_parameter("net.head.weight")
    prepared = bnc.prepare(model, bnc.Frozen(affine="trainable"), weight_decay=0.05)
    decayed, others = prepared.parameter_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.05, 0.0)
    names = {id(p): name for name, p in prepared.model.named_parameters()}
    assert [names[id(p)] for p in decayed["params"]] == [
        "net.conv.weight",
        "net.head.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    ]
    seen = [id(p) for group in prepared.parameter_groups for p in group["params"]]
    trainable = [id(p) for p in prepared.model.parameters() if p.requires_grad]
    assert len(seen) == len(set(seen))
    assert set(seen) == set(trainable)


def test_nothing_trainable_of_a_kind_makes_no_empty_group() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4))
    groups = bnc.prepare(model, bnc.Frozen()).parameter_groups
    assert [len(group["params"]) for group in groups] == [1]


class T5LayerNorm(nn.Module):
    """A norm that only its name gives away."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))


@pytest.mark.parametrize(
    ("layer", "decayed"),
    [
        (nn.LSTM(3, 3, bidirectional=True), 4),
        (nn.LSTM(3, 2, proj_size=1), 3),
        (nn.GRU(3, 3, num_layers=2), 4),
        (nn.RNNCell(3, 3), 2),
        (nn.MultiheadAttention(4, 2, add_bias_kv=True), 2),
        (nn.Bilinear(2, 2, 2), 1),
        (parametrizations.weight_norm(nn.Linear(3, 3), "bias"), 1),
        (T5LayerNorm(), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_no_bias_of_any_layer_decays(layer: nn.Module, decayed: int) -> None:
    prepared = bnc.prepare(layer, bnc.Keep(), weight_decay=0.1)
    by_decay = {group["weight_decay"]: group["params"] for group in prepared.parameter_groups}
    assert len(by_decay.get(0.1, ())) == decayed
    assert sum(map(len, by_decay.values())) == len(list(layer.parameters()))


def test_norms_are_exempted_in_an_optimizer_that_exists_and_its_state_stays() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    first, last = [*model[:2].parameters()], [*model[2].parameters()]
    groups: list[dict[str, Any]] = [{"params": first}, {"params": last, "lr": 0.5}]
    optimizer = torch.optim.SGD(groups, 0.1, momentum=0.9, weight_decay=0.01)
    model(torch.randn(8, 4)).sum().backward()
    optimizer.step()
    momentum = optimizer.state[first[2]]["momentum_buffer"]
    for _ in range(2):  # the second time there is nothing left to do
        bnc.exempt_norms(model, optimizer)
        assert [
            (len(group["params"]), group["lr"], group["weight_decay"])
            for group in optimizer.param_groups
        ] == [(2, 0.1, 0.01), (2, 0.5, 0.01), (2, 0.1, 0.0)]
    assert optimizer.state[first[2]]["momentum_buffer"] is momentum


def test_parameters_that_have_names_keep_them() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.named_parameters(), weight_decay=0.1)
    bnc.exempt_norms(model, optimizer)
    names = [group["param_names"] for group in optimizer.param_groups]
    assert names == [["0.weight", "0.bias"], ["1.weight", "1.bias"]]
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 2]


@pytest.mark.parametrize("use", [bnc.exempt_norms, lambda m, o: bnc.inspect(m, optimizer=o)])
def test_several_optimizers_are_refused_in_words(use: Any) -> None:
    model = Net()
    with pytest.raises(ValueError, match=r"optimizer is a list; give the torch\.optim\.Optimizer"):
        use(model, [torch.optim.SGD(model.parameters())])


def test_the_parameters_of_norms_are_listed_with_their_paths() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.BatchNorm1d(4, affine=False))
    assert [path for path, _ in norm_parameters(model)] == ["1", "1"]
