"""Batches that cannot be measured, and data and models that fail: nothing is left half done."""

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.precise import farthest, statistics_of
from tests.statistics.networks import Inception, built
from tests.submodules import submodule
from tests.zoo import trained


def test_old_values_that_are_not_finite_recover() -> None:
    for method in ("layerwise", "aggregate", "ema"):
        model, batches = built("vector")
        wanted, _ = built("vector")
        with torch.no_grad():
            model.get_buffer("1.running_mean").fill_(float("nan"))
            model.get_buffer("4.running_var").fill_(float("inf"))
        if method == "ema":
            for net, path in itertools.product((model, wanted), ("1", "4")):
                submodule(net, path, nn.BatchNorm1d).momentum = 1.0
        result = bnc.recompute_statistics(model, batches, method=method)
        bnc.recompute_statistics(wanted, batches, method=method)
        assert farthest(statistics_of(model), statistics_of(wanted)) == 0
        assert result.report.statistics[0].mean_distance is None
        assert "not finite" in str(result)


def test_a_broken_batch_counts_nowhere_and_is_reported() -> None:
    for method in ("layerwise", "aggregate"):
        model, batches = built("inception_like")
        good = copy.deepcopy(model)
        broken = batches[2].clone()
        broken[0, 0, 0, 0] = float("nan")
        result = bnc.recompute_statistics(model, [*batches, broken], method=method)
        bnc.recompute_statistics(good, batches, method=method)
        assert farthest(statistics_of(model), statistics_of(good)) < 1e-12
        (note,) = (note for note in result.report.notes if "skipped" in note)
        assert note == "batch 6 skipped: a NaN, an infinity or an overflow at stages.0.0.1"


def test_a_batch_that_overflows_in_the_middle_counts_nowhere() -> None:
    class Overflowing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.BatchNorm1d(3), nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.b(self.a(x) / (x.abs().amax() < 50))
            return y

    x = torch.randn(20, 3, dtype=torch.float64)
    wild = torch.full((4, 3), 99.0, dtype=torch.float64)
    model = Overflowing().double().eval()
    result = bnc.recompute_statistics(model, [x[:10], wild, x[10:]])
    torch.testing.assert_close(model.a.running_mean, x.mean(0))
    assert "batch 1 skipped: a NaN, an infinity or an overflow at b" in result.report.notes
    assert "2 passes over the data were needed" in result.report.notes


def test_only_broken_batches_or_none_are_refused_and_nothing_changes() -> None:
    model, batches = built("vector")
    before = statistics_of(model)
    nan = torch.full((4, 6), float("nan"), dtype=torch.float64)
    for method in ("layerwise", "aggregate", "ema"):
        for data, message in (
            ([], "batches gave no data; give at least one batch with samples"),
            ([batches[0][:0]], "batches gave no data"),
            ([nan, nan], "none of the 2 batches can be used .*batch 0: a NaN.* at 1.*; fix the"),
        ):
            with pytest.raises(bnc.StatisticsError, match=message):
                bnc.recompute_statistics(model, data, method=method)
            assert farthest(statistics_of(model), before) == 0


@pytest.mark.parametrize("method", ["layerwise", "aggregate", "ema"])
def test_only_batches_of_one_value_per_channel_are_refused(method: Any) -> None:
    model, batches = built("vector")
    before = statistics_of(model)
    with pytest.raises(bnc.StatisticsError, match="one value per channel"):
        bnc.recompute_statistics(model, torch.cat(batches).split(1), method=method)
    assert farthest(statistics_of(model), before) == 0


def test_some_batches_of_one_value_count_layer_by_layer_and_are_skipped_by_mini_batch() -> None:
    model, batches = built("vector")
    data = torch.cat(batches)
    bnc.recompute_statistics(model, [data])
    whole = statistics_of(model)
    bnc.recompute_statistics(model, data.split([1, 30, 4]))
    assert farthest(statistics_of(model), whole) < 1e-12
    result = bnc.recompute_statistics(model, data.split([1, 30, 4]), method="aggregate")
    assert "batch 0 skipped: one value per channel at 1" in result.report.notes


def failing(batches: list[Tensor], failure: BaseException) -> Iterator[Tensor]:
    yield from batches
    raise failure


@pytest.mark.parametrize("method", ["layerwise", "aggregate", "ema"])
@pytest.mark.parametrize("failure", [OSError("the disk is gone"), KeyboardInterrupt()])
def test_a_failing_loader_leaves_everything_as_it_was(method: Any, failure: BaseException) -> None:
    model, batches = built("inception_like")
    before = statistics_of(model)
    with pytest.raises(type(failure)):
        bnc.recompute_statistics(model, failing(batches, failure), method=method)
    assert farthest(statistics_of(model), before) == 0


@pytest.mark.parametrize("method", ["layerwise", "aggregate"])
def test_a_failing_model_leaves_everything_as_it_was(method: Any) -> None:
    class Failing(Inception):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            if len(x) == 3:
                raise RuntimeError("three is too few")
            return y

    torch.manual_seed(0)
    model, batches = trained(Failing()).double(), built("inception_like")[1]
    before = statistics_of(model)
    with pytest.raises(RuntimeError, match="three is too few"):
        bnc.recompute_statistics(model, batches, method=method)
    assert farthest(statistics_of(model), before) == 0
