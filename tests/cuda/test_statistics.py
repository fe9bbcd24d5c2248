import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.cuda.models import (
    IMAGES,
    Deep,
    assert_close,
    codes,
    needs_cuda,
    on_cuda,
    tensors_of,
)
from tests.zoo import trained

pytestmark = needs_cuda


@pytest.mark.parametrize(
    ("method", "limit"),
    [("layerwise", None), ("layerwise", 20_000), ("aggregate", None), ("ema", None)],
    ids=["layerwise", "layerwise, swapped", "aggregate", "ema"],
)
def test_statistics_are_recomputed_as_on_the_cpu(method: Any, limit: int | None) -> None:
    batches = list(IMAGES.split(4))
    model = trained(Deep())
    twin = on_cuda(model)
    bnc.recompute_statistics(model, batches, method=method)
    bnc.recompute_statistics(twin, [b.cuda() for b in batches], method=method, memory_limit=limit)
    assert_close([b.cpu() for b in twin.buffers()], list(model.buffers()), 1e-4)
    assert {t.device.type for t in tensors_of(twin)} == {"cuda"}


def test_findings_are_those_of_the_cpu() -> None:
    model = trained(Deep()).train()
    twin = on_cuda(model)
    batches = list(IMAGES.split(4))
    assert codes(bnc.inspect(twin, IMAGES.cuda())) == codes(bnc.inspect(model, IMAGES))
    on_device = bnc.diagnose(twin.eval(), [b.cuda() for b in batches])
    assert codes(on_device) == codes(bnc.diagnose(model.eval(), batches))


def test_the_memory_limit_holds_on_the_device() -> None:
    models = pytest.importorskip("torchvision").models
    model = on_cuda(trained(models.resnet18(weights=None)))
    batches = list(torch.randn(64, 3, 64, 64, device="cuda").split(4))

    def peak(limit: int | None) -> float:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        bnc.recompute_statistics(model, batches, memory_limit=limit)
        return torch.cuda.max_memory_allocated() - before

    whole = peak(None)
    expected = [b.clone() for b in model.buffers()]
    limited = peak(int(whole / 4))
    assert limited < whole / 2
    assert_close(list(model.buffers()), expected, 1e-5)


def test_a_model_on_two_devices_is_measured_part_by_part() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
            self.second = nn.Sequential(nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.second(self.first(x).to(self.second[0].weight.device))
            return y

    model = trained(Halves())
    twin = copy.deepcopy(model)
    twin.second.cuda()
    batches = list(IMAGES.split(4))
    bnc.recompute_statistics(model, batches)
    bnc.recompute_statistics(twin, batches)
    assert_close([b.cpu() for b in twin.buffers()], list(model.buffers()), 1e-4)
    assert twin.second[1].running_mean.device.type == "cuda"
