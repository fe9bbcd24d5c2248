"""What `recompute_statistics` promises of the model that it is given."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.statistics import recomputation
from bnconvert.statistics.paging.swap_memory import SwapMemory
from bnconvert.statistics.recomputation import _memory_for
from tests.statistics.networks import built, vector_net
from tests.zoo import ZOO, ZooModel


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
