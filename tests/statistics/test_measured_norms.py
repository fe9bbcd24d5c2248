"""Which norms of a model are measured, and which are left alone and named."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.norms.separate_norm import SeparateNorm
from tests.precise import farthest, statistics_of
from tests.statistics.networks import built, vector_net
from tests.submodules import submodule
from tests.zoo import Net, trained


def test_frozen_norms_and_those_in_eval_mode_of_a_training_model_are_left_and_named() -> None:
    model, batches = built("vector")
    model = bnc.convert(model.train(), bnc.Policy({"1": bnc.Frozen(), "4": bnc.Keep()}))
    before = statistics_of(model)["1"]
    result = bnc.recompute_statistics(model, batches)
    assert torch.equal(statistics_of(model)["1"][0], before[0])
    assert "1: left alone: its statistics are frozen" in result.report.notes
    plain, _ = built("vector")
    plain.train().get_submodule("1").eval()
    result = bnc.recompute_statistics(plain, batches)
    assert [row.path for row in result.report.statistics] == ["4"]
    assert any("1: left alone: is in eval mode" in note for note in result.report.notes)


def test_a_model_without_anything_to_measure_is_refused_with_the_reasons() -> None:
    with pytest.raises(bnc.StatisticsError, match="the model has no batch norm; there is nothing"):
        bnc.recompute_statistics(nn.Linear(2, 2), [torch.randn(4, 2)])
    frozen = bnc.convert(nn.Sequential(nn.BatchNorm1d(2)), bnc.Frozen())
    with pytest.raises(bnc.StatisticsError, match="0: its statistics are frozen"):
        bnc.recompute_statistics(frozen, [torch.randn(4, 2)])


def test_a_norm_that_no_batch_reaches_is_left_alone_and_named() -> None:
    class Spare(Net):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.BatchNorm2d(8)

    for method in ("layerwise", "aggregate", "ema"):
        model = trained(Spare())
        before = statistics_of(model)["spare"]
        result = bnc.recompute_statistics(model, [torch.randn(4, 3, 8, 8)], method=method)
        after = statistics_of(model)["spare"]
        assert torch.equal(after[0], before[0])
        assert torch.equal(after[1], before[1])
        assert int(model.get_buffer("spare.num_batches_tracked")) == 100
        assert "spare: left alone: no batch reached it" in result.report.notes


def test_one_domain_is_measured_and_the_others_are_left() -> None:
    model = bnc.convert(nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3)), bnc.Separate())
    model.register_module("1", nn.BatchNorm1d(3))
    x = torch.randn(40, 3) * 2 + 5
    result = bnc.recompute_statistics(model.eval(), x.split(10), domain="target")
    assert [row.path for row in result.report.statistics] == ["0[target]"]
    assert "1: left alone: holds no domain 'target'" in result.report.notes
    plain = bnc.revert(model, domain="target")
    torch.testing.assert_close(plain.get_buffer("0.running_mean"), x.mean(0))
    assert torch.equal(model.get_buffer("0.running_mean"), torch.zeros(3))
    assert torch.equal(model.get_buffer("1.running_mean"), torch.zeros(3))
    bnc.recompute_statistics(model, x.split(10))  # of the domain in use, and plain norms
    torch.testing.assert_close(model.get_buffer("0.running_mean"), x.mean(0))
    with pytest.raises(bnc.UnsupportedModelError, match="has no domain 'moon'"):
        bnc.recompute_statistics(model, x.split(10), domain="moon")


def test_statistics_per_call_are_separable() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            for size in (8, 4, 2):
                x = F.relu(self.bn(self.conv(F.adaptive_avg_pool2d(x, size))))
            return x

    torch.manual_seed(0)
    model = bnc.convert(trained(Head()).double(), bnc.Separate(domains="calls"))
    x = torch.randn(24, 3, 8, 8, dtype=torch.float64)
    results = []
    for sizes in ([24], [2, 7, 15]):
        report = bnc.recompute_statistics(model.eval(), x.split(sizes)).report
        assert [row.path for row in report.statistics] == [f"bn[call {i}]" for i in range(3)]
        assert report.notes == ()
        norm = submodule(model, "bn", SeparateNorm)
        members = [norm.norm_of(i) for i in range(3)]
        results.append(
            [
                (m.get_buffer("running_mean").clone(), m.get_buffer("running_var").clone())
                for m in members
            ]
        )
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first[0], second[0])
        torch.testing.assert_close(first[1], second[1])


@pytest.mark.parametrize(
    "policy",
    [
        bnc.Sync(),
        bnc.Ghost(4),
        bnc.Renorm(),
        bnc.Adaptive(16),
        bnc.Adaptive(16, over="stream"),
        bnc.Separate(),
        bnc.Separate(each=bnc.Ghost(2)),
        bnc.Virtual(torch.zeros(2, 3, 12, 12).double()),
    ],
    ids=repr,
)
def test_every_norm_that_tracks_is_measured_as_the_plain_one(policy: Any) -> None:
    plain, batches = built("inception_like")
    model = bnc.convert(plain, policy)
    bnc.recompute_statistics(plain, batches)
    bnc.recompute_statistics(model.eval(), batches)
    assert farthest(statistics_of(bnc.revert(model)), statistics_of(plain)) < 1e-12


def test_group_norm_is_left_alone() -> None:
    model = bnc.convert(vector_net(), bnc.Policy({"1": bnc.Group(2), "4": bnc.Keep()}))
    result = bnc.recompute_statistics(model, [torch.randn(8, 6)])
    assert "1: left alone: GroupedNorm does not use its running statistics" in result.report.notes
