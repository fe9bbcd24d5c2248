import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

import bnconvert as bnc
from bnconvert.modules.tracking import TrackingNorm


def half_converted() -> nn.Module:
    layers = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    return bnc.convert(layers, bnc.Policy({"1": bnc.Ghost(8)}))


def test_update_bn_on_a_part_of_the_norms_says_what_to_call() -> None:
    averaged = AveragedModel(half_converted())
    batches = [torch.randn(32, 4) + 9]
    linear, norm = averaged.get_submodule("module.0"), averaged.get_submodule("module.1")
    before = norm.get_buffer("running_mean").clone()
    with pytest.raises(RuntimeError, match=r"use bnconvert.recompute_statistics\(model, batches\)"):
        update_bn(batches, averaged)
    assert torch.equal(norm.get_buffer("running_mean"), before)
    bnc.recompute_statistics(averaged.module, batches)
    expected = linear(batches[0]).mean(0)
    torch.testing.assert_close(norm.get_buffer("running_mean"), expected)


def test_plan_and_repr_say_what_loops_over_torchs_class_do_not_see() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4))
    for choice in (bnc.Ghost(8), bnc.Frozen(), bnc.Group(2)):
        assert "update_bn and loops over it do not see them" in str(bnc.plan(model, choice))
        norm = bnc.convert(model, choice).get_submodule("0")
        assert isinstance(norm, bnc.NORM_CLASSES)
        assert ("unseen by update_bn" in repr(norm)) == isinstance(norm, TrackingNorm)
    assert "update_bn" not in str(bnc.plan(model, bnc.Keep()))


def test_training_without_gradients_is_no_update_bn() -> None:
    model = half_converted().train()
    with torch.no_grad():
        model(torch.randn(32, 4))
    assert model.get_buffer("1.num_batches_tracked") == 1
