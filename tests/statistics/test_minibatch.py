"""Aggregate against fvcore: equal on fvcore's own cases, right where fvcore is wrong."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.precise import farthest, statistics_of
from tests.zoo import Net, Residual, trained

SIZES = [2, 2, 4, 8, 16, 32, 64]


def fvcore(model: nn.Module, batches: Any, count: int) -> nn.Module:
    """Return a copy with the statistics that fvcore computes."""
    precise = pytest.importorskip("fvcore.nn.precise_bn")
    twin = copy.deepcopy(model).train()
    precise.update_bn_stats(twin, batches, count)
    return twin


CASES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "1d": (nn.BatchNorm1d, (4,)),
    "series": (nn.BatchNorm1d, (4, 7)),
    "2d": (nn.BatchNorm2d, (4, 3, 5)),
    "3d": (nn.BatchNorm3d, (4, 2, 3, 2)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("sizes", [[16] * 8, SIZES], ids=["equal", "unequal"])
def test_on_its_own_cases_it_is_fvcores(name: str, sizes: list[int]) -> None:
    kind, shape = CASES[name]
    torch.manual_seed(0)
    model = nn.Sequential(kind(4), nn.ReLU(), kind(4)).double()
    batches = list((torch.randn(sum(sizes), *shape, dtype=torch.float64) * 2 + 1).split(sizes))
    theirs = fvcore(model, batches, len(batches))
    bnc.recompute_statistics(model, batches, method="aggregate")
    assert farthest(statistics_of(model), statistics_of(theirs)) < 1e-12


def test_on_a_network_it_is_fvcores() -> None:
    torch.manual_seed(0)
    model = trained(Residual())
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    batches = list(torch.randn(40, 3, 8, 8).split([8, 12, 20]))
    theirs = fvcore(model, batches, 3)
    bnc.recompute_statistics(model, batches, method="aggregate")
    assert farthest(statistics_of(model), statistics_of(theirs)) < 1e-5


def test_a_large_mean_cancels_in_fvcore_and_not_here() -> None:
    x = torch.randn(256, 3, dtype=torch.float64) * 0.1 + 1000
    true = x.var(0, correction=0)
    norm = nn.BatchNorm1d(3)
    theirs = fvcore(norm, list(x.float().split(32)), 8)
    bnc.recompute_statistics(norm, x.float().split(32), method="aggregate")
    torch.testing.assert_close(norm.get_buffer("running_var").double(), true, rtol=1e-2, atol=0)
    assert ((theirs.get_buffer("running_var").double() / true - 1).abs() > 0.5).any()


def test_a_norm_that_is_not_reached_is_zero_in_fvcore_and_untouched_here() -> None:
    class Spare(Net):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.BatchNorm2d(8)

    model = trained(Spare())
    before = statistics_of(model)["spare"]
    batches = [torch.randn(4, 3, 8, 8)]
    assert not fvcore(model, batches, 1).get_buffer("spare.running_var").any()
    bnc.recompute_statistics(model, batches, method="aggregate")
    assert all(map(torch.equal, statistics_of(model)["spare"], before))


def test_a_nan_stays_in_fvcore_and_recovers_here() -> None:
    norm = nn.BatchNorm1d(3)
    with torch.no_grad():
        norm.get_buffer("running_mean").fill_(float("nan"))
    batches = [torch.randn(8, 3)]
    assert fvcore(norm, batches, 1).get_buffer("running_mean").isnan().all()
    bnc.recompute_statistics(norm, batches, method="aggregate")
    torch.testing.assert_close(norm.running_mean, batches[0].mean(0))


def test_after_an_exception_fvcore_is_half_done_and_nothing_has_changed_here() -> None:
    precise = pytest.importorskip("fvcore.nn.precise_bn")

    def failing() -> Iterator[Tensor]:
        yield torch.randn(8, 3)
        raise OSError("the disk is gone")

    theirs, ours = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    with pytest.raises(OSError, match="the disk is gone"):
        precise.update_bn_stats(theirs, failing(), 2)
    assert theirs.momentum == 1.0
    with pytest.raises(OSError, match="the disk is gone"):
        bnc.recompute_statistics(ours, failing(), method="aggregate")
    assert ours.momentum == 0.1
    assert torch.equal(ours.get_buffer("running_mean"), torch.zeros(3))
    assert not ours._forward_pre_hooks


def test_a_short_loader_is_an_error_in_fvcore_and_enough_here() -> None:
    norm = nn.BatchNorm1d(3)
    with pytest.raises(AssertionError):
        fvcore(norm, [torch.randn(8, 3)], 2)
    bnc.recompute_statistics(norm, [torch.randn(8, 3)], method="aggregate", max_samples=100)
    assert norm.get_buffer("running_mean").any()


def test_a_norm_that_is_called_twice_is_refused_by_fvcore_and_pooled_here() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(x) + self.norm(x * 3 + 1)
            return y

    model, x = Twice().double(), torch.randn(30, 3, dtype=torch.float64)
    with pytest.raises(AssertionError):
        fvcore(model, [x], 1)
    bnc.recompute_statistics(model, x.split(10), method="aggregate")
    values = torch.cat([x, x * 3 + 1])
    torch.testing.assert_close(model.norm.running_mean, values.mean(0))
    torch.testing.assert_close(model.norm.running_var, values.var(0, correction=0))


def test_a_moving_average_of_all_batches_is_their_mean() -> None:
    norm, x = nn.BatchNorm1d(3, momentum=None).double(), torch.randn(30, 3, dtype=torch.float64)
    bnc.recompute_statistics(norm, x.split(10), method="ema")
    torch.testing.assert_close(norm.running_mean, x.mean(0))
    still = nn.BatchNorm1d(3, momentum=0.0).double()
    notes = bnc.recompute_statistics(still, x.split(10), method="ema").report.notes
    assert notes == ("momentum 0: nothing moves; set another momentum, or use another method",)
