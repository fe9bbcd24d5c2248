"""The statistics are those of slow definitions and of numpy."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bnconvert as bnc
from tests.precise import farthest, layer_by_layer, one_giant_batch, statistics_of
from tests.statistics.networks import LARGE, SIZES, SWEEP, built


@pytest.mark.parametrize("name", SWEEP)
def test_layerwise_is_the_naive_pass_per_norm_and_the_one_giant_batch(name: str) -> None:
    model, batches = built(name, sizes=[2, 5, 4] if name in LARGE else SIZES)
    naive, giant = layer_by_layer(model, batches), one_giant_batch(model, batches)
    bnc.recompute_statistics(model, batches)
    measured = statistics_of(model)
    assert farthest(measured, naive) < 1e-9
    if name != "data_branch":  # a giant batch takes one side of the branch
        assert farthest(measured, giant) < 1e-9


@pytest.mark.parametrize("name", SWEEP)
def test_in_float32_it_is_as_exact_as_float32_is(name: str) -> None:
    deep = name in LARGE - {"resnet18"}
    model, batches = built(name, torch.float32, sizes=[2, 5, 4] if deep else SIZES)
    truth = copy.deepcopy(model).double()
    bnc.recompute_statistics(truth, [batch.double() for batch in batches])
    wanted = statistics_of(truth)
    naive = farthest(layer_by_layer(model, batches), wanted)
    bnc.recompute_statistics(model, batches)
    assert farthest(statistics_of(model), wanted) < max(1e-5, 1.5 * naive)
    if not deep:  # where float32 itself is 1.3e-5 and 2e-5 off
        assert naive < 1e-5


@pytest.mark.parametrize("name", [name for name in SWEEP if name != "data_branch"])
def test_layerwise_does_not_depend_on_how_the_data_are_divided(name: str) -> None:
    model, batches = built(name)
    bnc.recompute_statistics(model, batches)
    first = statistics_of(model)
    data = torch.cat(batches)
    for sizes in ([len(data)], [1, len(data) - 1], [len(data) // 7] * 7):
        bnc.recompute_statistics(model, data.split(sizes))
        assert farthest(statistics_of(model), first) < 1e-9


def test_aggregate_agrees_with_layerwise_the_better_the_larger_the_batches() -> None:
    model, batches = built("inception_like")
    data = torch.cat(batches)[torch.randperm(35)]
    bnc.recompute_statistics(model, [data])
    exact = statistics_of(model)
    errors = []
    for size in (2, 7, 35):
        bnc.recompute_statistics(model, data.split(size), method="aggregate")
        errors.append(farthest(statistics_of(model), exact))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-9


@pytest.mark.parametrize("method", ["layerwise", "aggregate"])
@pytest.mark.parametrize("shape", [(6,), (6, 5), (6, 4, 3), (6, 2, 3, 2)])
def test_the_first_norm_gets_what_numpy_gets(method: Any, shape: tuple[int, ...]) -> None:
    kinds = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}
    x = torch.randn(130, *shape) * 3 - 7
    values = np.moveaxis(x.numpy().astype(np.float64), 1, 0).reshape(6, -1)
    for variance, ddof in (("population", 0), ("unbiased", 1)):
        norm = kinds[len(shape)](6).double().eval()
        batches = x.double().split([2, 2, 4, 8, 16, 32, 64, 2])
        bnc.recompute_statistics(norm, batches, method=method, variance=variance)  # type: ignore[arg-type]
        np.testing.assert_allclose(
            norm.get_buffer("running_mean").numpy(), values.mean(1), rtol=1e-12
        )
        np.testing.assert_allclose(
            norm.get_buffer("running_var").numpy(), values.var(1, ddof=ddof), rtol=1e-12
        )
        assert int(norm.get_buffer("num_batches_tracked")) == 8


@pytest.mark.parametrize("method", ["layerwise", "aggregate"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_large_mean_does_not_swallow_a_small_variance(method: Any, layout: Any) -> None:
    x = (torch.randn(256, 4, 16, 16, dtype=torch.float64) * 0.1 + 1000).float()
    norm = nn.BatchNorm2d(4).eval()
    bnc.recompute_statistics(norm, x.to(memory_format=layout).split(32), method=method)
    true = x.double().var((0, 2, 3), correction=0)
    torch.testing.assert_close(norm.get_buffer("running_var").double(), true, rtol=1e-2, atol=0)
    torch.testing.assert_close(
        norm.get_buffer("running_mean").double(), x.double().mean((0, 2, 3)), rtol=1e-6, atol=0
    )


def test_half_precision_models_accumulate_in_float64() -> None:
    x = (torch.randn(4096, 3) + 40).bfloat16()
    norm = nn.BatchNorm1d(3).bfloat16()
    bnc.recompute_statistics(norm, x.split(64))
    wanted = x.double().mean(0), x.double().var(0, correction=0)
    torch.testing.assert_close(
        norm.get_buffer("running_mean").double(), wanted[0], rtol=2**-8, atol=0
    )
    torch.testing.assert_close(
        norm.get_buffer("running_var").double(), wanted[1], rtol=2**-8, atol=0
    )


def test_statistics_that_do_not_fit_their_buffers_are_refused() -> None:
    norm = nn.BatchNorm1d(3).half()
    x = (torch.randn(64, 3) * 1000).half()
    with pytest.raises(bnc.StatisticsError, match=r"do not fit its torch.float16 buffers; keep"):
        bnc.recompute_statistics(norm, [x])
    assert torch.equal(norm.get_buffer("running_var"), torch.ones(3).half())


def test_the_moving_average_is_torchs_and_says_how_many_updates_it_needs() -> None:
    model, batches = built("inception_like")
    twin = copy.deepcopy(model).train()
    with torch.no_grad():
        for batch in batches:
            twin(batch)
    result = bnc.recompute_statistics(model, batches, method="ema", variance="unbiased")
    assert farthest(statistics_of(model), statistics_of(twin)) < 1e-9
    (note,) = (note for note in result.report.notes if "momentum" in note)
    assert note == (
        "momentum 0.1 needs 44 updates until the weight of the old values is below 1%; after the "
        "6 that were made it is 53.1%"
    )


def test_the_report_tells_distances_in_sigma_and_the_error_by_images() -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(400, 3, 1, 1, generator=generator, dtype=torch.float64)
    x = images * 0.6 + torch.randn(400, 3, 16, 16, generator=generator, dtype=torch.float64) * 0.8
    norm = nn.BatchNorm2d(3).double().eval()
    with torch.no_grad():
        norm.get_buffer("running_mean").fill_(2)
        norm.get_buffer("running_var").fill_(4)
    (row,) = bnc.recompute_statistics(norm, x.split(50)).report.statistics
    assert row.mean_distance == pytest.approx(2, rel=0.1)
    assert row.deviation_distance == pytest.approx(1, rel=0.1)
    assert row.standard_error == pytest.approx((0.36 / 400) ** 0.5, rel=0.4)
    assert row.enough_samples == pytest.approx(0.36 / 0.03**2, rel=0.6)
    assert row.samples == 400


def test_the_error_falls_with_the_root_of_the_samples() -> None:
    norm = nn.BatchNorm2d(3).eval()
    errors = [
        bnc.recompute_statistics(norm, torch.randn(n, 3, 2, 2).split(16)).report.statistics[0]
        for n in (64, 1024)
    ]
    first, second = (row.standard_error for row in errors)
    assert first is not None
    assert second is not None
    assert first / second == pytest.approx(4, rel=0.35)
