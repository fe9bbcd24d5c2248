"""What `recompute_statistics` promises, against slow definitions and against numpy."""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.norms.separate_norm import SeparateNorm
from bnconvert.statistics import recomputation
from bnconvert.statistics.recomputation import _memory_for
from bnconvert.statistics.swap_memory import SwapMemory
from tests.precise import farthest, layer_by_layer, one_giant_batch, statistics_of
from tests.submodules import submodule
from tests.zoo import ZOO, Net, ZooModel, trained

SIZES = [2, 2, 4, 8, 16, 3]


class Inception(nn.Module):
    """Branches that are concatenated, as in GoogLeNet, in two stages."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([self._stage(3), self._stage(16)])

    def _stage(self, channels: int) -> nn.ModuleList:
        def branch(kernel: int) -> nn.Module:
            conv = nn.Conv2d(channels, 8, kernel, padding=kernel // 2, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(8), nn.ReLU())

        return nn.ModuleList([branch(1), branch(3)])

    def forward(self, x: Tensor) -> Tensor:
        for branches in self.stages:
            assert isinstance(branches, nn.ModuleList)
            x = torch.cat([branch(x) for branch in branches], 1)
        return x


class DataBranch(nn.Module):
    """A branch that depends on the data: no trace can follow it, both sides reach all norms."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Net(), Net()
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        y = y - y.mean() if bool(y.sum() > 0) else y.abs()
        output: Tensor = self.bn(y + self.second(x))
        return output


def vector_net() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.BatchNorm1d(8)
    )


def volume_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 4, 1), nn.BatchNorm3d(4)
    )


def torchvision_net(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        models = pytest.importorskip("torchvision.models")
        options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
        built: nn.Module = models.get_model(name, weights=None, **options)
        return built

    return build


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet18": (torchvision_net("resnet18"), (3, 32, 32)),
    "densenet121": (torchvision_net("densenet121"), (3, 32, 32)),
    "googlenet": (torchvision_net("googlenet"), (3, 32, 32)),
    "inception_like": (Inception, (3, 12, 12)),
    "data_branch": (DataBranch, (3, 10, 10)),
    "vector": (vector_net, (6,)),
    "volume": (volume_net, (3, 5, 5, 5)),
}


def built(
    name: str, dtype: torch.dtype = torch.float64, sizes: Sequence[int] = SIZES
) -> tuple[nn.Module, list[Tensor]]:
    """Return a model with trained-looking norms, and unequal batches with different means."""
    torch.manual_seed(0)
    build, shape = MODELS[name]
    model = trained(build()).to(dtype)
    x = torch.randn(sum(sizes), *shape, dtype=torch.float64)
    x = x * torch.linspace(0.5, 2, len(x)).reshape(-1, *[1] * len(shape)) + 0.3
    return model, list(x.to(dtype).split(list(sizes)))


LARGE = {"resnet18", "densenet121", "googlenet"}
SWEEP = [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in MODELS]


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


@pytest.mark.parametrize("method", ["layerwise", "aggregate", "ema"])
@pytest.mark.parametrize("zoo", ZOO, ids=lambda zoo: zoo.name)
def test_every_zoo_model_is_measured_or_refused_and_undone_bit_for_bit(
    zoo: ZooModel, method: Any
) -> None:
    torch.manual_seed(0)
    model = zoo.build().train()
    batches = [
        tuple(torch.randn(n, *t.shape[1:]).to(t) * 3 + 1 for t in zoo.inputs) for n in (3, 2, 4)
    ]
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    modes = [module.training for module in model.modules()]
    hooks = [len(module._forward_pre_hooks) for module in model.modules()]
    if zoo.name in {"without_statistics", "functional", "no_norm", "frozen_elsewhere"}:
        with pytest.raises(bnc.StatisticsError, match="to recompute"):
            bnc.recompute_statistics(model, batches, method=method)
    else:
        result = bnc.recompute_statistics(model, batches, method=method)
        assert any(row.mean_distance for row in result.report.statistics)
        result.undo()
    assert modes == [module.training for module in model.modules()]
    assert hooks == [len(module._forward_pre_hooks) for module in model.modules()]
    assert torch.equal(torch.get_rng_state(), random)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_buffers_change_in_place_and_counters_count_the_batches() -> None:
    model, batches = built("vector")
    alias = model.get_buffer("1.running_mean")
    old = alias.clone()
    bnc.recompute_statistics(model, batches)
    assert model.get_buffer("1.running_mean") is alias
    assert not torch.equal(alias, old)
    assert int(model.get_buffer("1.num_batches_tracked")) == len(batches)


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


def test_dropout_is_off_and_the_random_state_stays() -> None:
    class Random(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.bn = nn.Dropout(0.9), nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.bn(self.drop(x) + torch.randn(()) * 0)
            return y

    x, random = torch.randn(30, 3), torch.get_rng_state()
    model = Random().train()
    bnc.recompute_statistics(model, x.split(10))
    torch.testing.assert_close(model.bn.running_mean, x.mean(0), rtol=1e-5, atol=1e-6)
    assert torch.equal(torch.get_rng_state(), random)
    assert model.drop.training


class TwoInputs(nn.Module):
    """Takes two inputs, and normalizes their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(3)

    def forward(self, left: Tensor, right: Tensor, scale: float = 1.0) -> Tensor:
        y: Tensor = self.bn(left + scale * right)
        return y


def test_batches_may_be_tensors_tuples_lists_mappings_or_anything_with_forward() -> None:
    x, y, labels = torch.randn(12, 3), torch.randn(12, 3), torch.zeros(12)
    wanted = (x + y).mean(0)
    for batch in ((x, y), [x, y], (x, y, labels), {"left": x, "right": y}):
        model = TwoInputs()
        bnc.recompute_statistics(model, [batch])
        torch.testing.assert_close(model.bn.running_mean, wanted)
    model = TwoInputs()
    bnc.recompute_statistics(model, [((x, y), 1)], forward=lambda m, batch: m(*batch[0]))
    torch.testing.assert_close(model.bn.running_mean, wanted)
    dataset = torch.utils.data.TensorDataset(x, labels)
    norm = nn.BatchNorm1d(3)
    bnc.recompute_statistics(norm, torch.utils.data.DataLoader(dataset, batch_size=5))
    torch.testing.assert_close(norm.running_mean, x.mean(0))


def test_what_are_no_batches_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    norm = nn.BatchNorm1d(3)
    for wrong in (torch.randn(4, 3), {"x": torch.randn(4, 3)}, "data", 3):
        with pytest.raises(bnc.StatisticsError, match=r"batches is a \w+; give an iterable of"):
            bnc.recompute_statistics(norm, wrong)  # type: ignore[arg-type]
    few = [(torch.randn(4, 3),), (torch.randn(4, 3), 1, 2)]
    model = nn.ModuleDict({"norm": norm})
    monkeypatch.setattr(model, "forward", lambda *inputs: norm(inputs[0]))
    with pytest.raises(
        bnc.StatisticsError, match=r"3 elements and ModuleDict\.forward takes any number"
    ):
        bnc.recompute_statistics(model, few)


def test_an_infinite_loader_ends_at_max_samples_and_a_short_one_is_fine() -> None:
    read: list[int] = []

    def endless() -> Iterator[Tensor]:
        while True:
            read.append(1)
            yield torch.randn(10, 3)

    norm = nn.BatchNorm1d(3)
    result = bnc.recompute_statistics(norm, endless(), max_samples=25)
    assert result.report.statistics[0].samples == 30
    assert len(read) == 3
    short = bnc.recompute_statistics(norm, [torch.randn(10, 3)], max_samples=1000)
    assert short.report.statistics[0].samples == 10
    with pytest.raises(bnc.StatisticsError, match="max_samples is 0; give a positive number"):
        bnc.recompute_statistics(norm, endless(), max_samples=0)


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


def test_inside_a_switch_it_is_refused() -> None:
    for model in (vector_net(), bnc.convert(vector_net(), bnc.Ghost(4))):
        with (
            bnc.update_statistics(model, False),
            pytest.raises(
                bnc.StatisticsError, match="1: update_statistics or use_statistics is in"
            ),
        ):
            bnc.recompute_statistics(model, [torch.randn(8, 6)])


def test_wrong_words_are_refused(lone_process_group: object) -> None:
    model, data = vector_net(), [torch.randn(8, 6)]
    with pytest.raises(ValueError, match="method is 'swa'; use one of layerwise, aggregate, ema"):
        bnc.recompute_statistics(model, data, method="swa")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="variance is 'biased'; use one of population, unbiased"):
        bnc.recompute_statistics(model, data, variance="biased")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r'depends on the order of the batches.*"aggregate"'):
        bnc.recompute_statistics(model, data, method="ema", process_group=lone_process_group)


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    model = vector_net()
    model.lock = iter([])  # type: ignore[assignment]
    model.handle = (i for i in range(3))  # type: ignore[assignment]
    with pytest.raises(bnc.UnsupportedModelError, match="Sequential: cannot be copied"):
        bnc.recompute_statistics(model, [torch.randn(8, 6)])


def test_progress_is_told() -> None:
    model, batches = built("inception_like")
    told: list[tuple[int, int | None, str]] = []
    bnc.recompute_statistics(model, batches, progress=lambda *step: told.append(step))
    assert told[0] == (1, None, "reading batches")
    assert told[-1][:2] == (4, 4)


def test_adapting_to_a_shifted_domain_mends_the_predictions() -> None:
    torch.manual_seed(0)
    model, batches = built("vector")
    source = torch.cat(batches)
    bnc.recompute_statistics(model, [source])
    with torch.no_grad():
        wanted = model(source)
        shifted = source * 3 + 10
        assert not torch.allclose(model(shifted), wanted, atol=0.1)
    first = nn.Sequential(nn.BatchNorm1d(6).double(), model).eval()
    bnc.recompute_statistics(first, [source])
    with torch.no_grad():
        wanted = first(source)
        bnc.recompute_statistics(first, [shifted])
        torch.testing.assert_close(first(shifted), wanted, rtol=1e-3, atol=1e-3)


def test_a_memory_limit_where_torch_cannot_empty_tensors_is_refused() -> None:
    mps = torch.device("mps")
    with pytest.raises(
        bnc.StatisticsError, match=r"away from mps, where .*; move the model to the"
    ):
        _memory_for(10, "layerwise", [mps])
    assert _memory_for(10, "aggregate", [mps]).summary() is None


def test_what_exceeds_the_limit_of_an_accelerator_waits_in_main_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recomputation, "swap_space_for", lambda device: SwapMemory)
    model, batches = built("inception_like")
    result = bnc.recompute_statistics(model, batches)
    free = [buffer.clone() for buffer in result.written]
    result.undo()
    result = bnc.recompute_statistics(model, batches, memory_limit=0)
    assert all(map(torch.equal, result.written, free))
    assert "MB were moved to main memory and back" in result.report.notes[-1]
