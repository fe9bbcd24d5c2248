import torch
from torch import nn
from torch.optim import SGD, AdamW

import bnconvert as bnc
from bnconvert.diagnosis.findings.optimizer import optimizer_findings
from tests.zoo import Net, trained


def found(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[tuple[str, str]]:
    return [(f.id, f.severity) for f in optimizer_findings(model, optimizer)]


def test_an_optimizer_of_prepared_groups_is_clean() -> None:
    ready = bnc.prepare(trained(Net()), bnc.Frozen(affine="trainable"), weight_decay=0.1)
    assert found(ready.model, AdamW(ready.parameter_groups)) == []


def test_the_default_of_adamw_decays_norms() -> None:
    model = nn.Sequential(Net(), nn.LayerNorm(3), nn.GroupNorm(2, 4))
    (finding,) = optimizer_findings(model, AdamW(model.parameters()))
    assert (finding.id, finding.paths) == ("BN301", ("0.norm", "1", "2"))
    assert finding.message.startswith("weight decay of 0.01 on the weights and biases of 3 norms")
    assert found(model, SGD(model.parameters(), 0.1)) == []


def test_norms_that_do_not_learn_are_not_decayed() -> None:
    model = bnc.convert(trained(Net()), bnc.Frozen())
    learning = [p for p in model.parameters() if p.requires_grad]
    assert found(model, SGD(learning, 0.1, weight_decay=0.1)) == []


def test_a_frozen_parameter_with_a_gradient_really_moves() -> None:
    model = Net()
    optimizer = SGD(model.parameters(), 0.1)
    model(torch.randn(2, 3, 4, 4)).sum().backward()
    model.head.requires_grad_(False)
    assert found(model, optimizer) == [("BN314", "warning")]
    before = model.head.weight.clone()
    optimizer.step()
    assert not torch.equal(model.head.weight, before)
    optimizer.zero_grad()
    assert found(model, optimizer) == [("BN314", "info")]


def test_the_optimizer_of_the_model_before_a_conversion_is_an_error() -> None:
    model = Net()
    optimizer = SGD(model.parameters(), 0.1)
    converted = bnc.convert(model, bnc.Ghost(2))
    assert found(converted, optimizer) == [("BN315", "error")]
    assert found(bnc.convert(model, bnc.Ghost(2), inplace=True), optimizer) == []


def test_parameters_that_are_left_out_are_counted() -> None:
    model = Net()
    (finding,) = optimizer_findings(model, SGD(model.head.parameters(), 0.1))
    assert finding.paths == ("conv.weight", "norm.weight", "norm.bias")
    assert finding.message.startswith("3 of 5 trainable parameters are in no group")
