"""`measured` gives an evaluation precise statistics, and training its own ones back."""

import pytest
import torch
from torch import nn

import bnconvert as bnc
from tests.zoo import Net, trained

BATCHES = list(torch.randn(24, 3, 8, 8).mul(2).add(1).split([10, 10, 4]))


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def modes_of(model: nn.Module) -> dict[str, bool]:
    return {path: module.training for path, module in model.named_modules()}


def test_inside_are_the_precise_statistics_and_eval_mode_and_afterwards_what_was_before() -> None:
    model, twin = trained(Net()).train(), trained(Net()).train()
    twin.load_state_dict(model.state_dict())
    bnc.recompute_statistics(twin, BATCHES)
    before, modes = state_of(model), modes_of(model)
    with bnc.measured(model, BATCHES) as report:
        assert same(state_of(model), state_of(twin))
        assert not any(modes_of(model).values())
        assert isinstance(report, bnc.Report)
    assert same(state_of(model), before)
    assert modes_of(model) == modes


def test_an_exception_inside_passes_and_everything_is_back() -> None:
    model = trained(Net()).train()
    before = state_of(model)
    with pytest.raises(KeyboardInterrupt), bnc.measured(model, BATCHES):
        raise KeyboardInterrupt
    assert same(state_of(model), before)
    assert model.training


def test_where_nothing_can_be_measured_it_is_not_entered() -> None:
    model = trained(Net()).train()
    before = state_of(model)
    with pytest.raises(bnc.StatisticsError, match="no data"), bnc.measured(model, []):
        pytest.fail("entered")
    assert same(state_of(model), before)
    assert model.training


def test_what_else_is_done_inside_stays() -> None:
    model = trained(Net()).train()
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with bnc.measured(model, BATCHES):
        model.train()
        model(BATCHES[0])  # moves the statistics, which are given back
        next(model.parameters()).data.zero_()
    assert not next(model.parameters()).any()
    assert same(dict(model.named_buffers()), statistics)


def test_contexts_can_be_nested_and_frozen_norms_stay() -> None:
    model = nn.Sequential(Net(), bnc.convert(nn.BatchNorm2d(4), bnc.Frozen())).train()
    before = state_of(model)
    with bnc.measured(model, BATCHES, method="aggregate"):
        outer = state_of(model)
        with bnc.measured(model, BATCHES[:1], variance="unbiased"):
            assert not same(state_of(model), outer)
        assert same(state_of(model), outer)
        assert torch.equal(outer["1.running_mean"], before["1.running_mean"])
    assert same(state_of(model), before)


def test_a_model_that_is_cast_inside_has_its_old_statistics_too() -> None:
    model = trained(Net())
    before = state_of(model)
    with bnc.measured(model, BATCHES):
        model.double()  # makes new buffers
    after = state_of(model)
    for name in before:
        assert torch.equal(after[name].to(before[name]), before[name]), name


def test_the_domain_in_use_is_the_one_that_is_measured() -> None:
    model = bnc.convert(trained(Net()), bnc.Separate(("source", "target")))
    before = state_of(model)
    with bnc.domain(model, "target"), bnc.measured(model, BATCHES):
        inside = state_of(model)
    changed = {name for name in before if not torch.equal(before[name], inside[name])}
    assert changed
    assert all("bnconvert" in name for name in changed)  # not the first domain's
    assert same(state_of(model), before)
