from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.statistics.model_state import restoring_state


class Observer(nn.Module):
    """Changes all that it keeps, as observers, counters and codebooks do in eval mode too."""

    count: Tensor
    low: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("low", torch.tensor([]))
        self.register_buffer("cache", torch.zeros(2), persistent=False)
        self.kept, self.array = [torch.zeros(2)], np.zeros(2)

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.low.resize_(x.shape[1]).copy_(x.amin(0))
        self.get_buffer("cache")[0] = float("nan")
        self.kept[0][1] += 1
        self.array[0] += 1
        return x

    def state(self) -> list[Any]:
        kept = (self.count, self.low, self.get_buffer("cache"), self.kept[0], self.array)
        return [array.tolist() for array in kept]


@pytest.mark.parametrize("method", ["layerwise", "aggregate", "ema"])
def test_only_the_measured_statistics_change_and_undo_brings_them_back(method: Any) -> None:
    observer, norm = Observer(), nn.BatchNorm1d(3)
    model = nn.Sequential(observer, norm)
    buffers = dict(model.named_buffers())
    before = observer.state()
    result = bnc.recompute_statistics(model, torch.randn(12, 3).split(4), method=method)
    assert observer.state() == before
    assert all(buffer is buffers[name] for name, buffer in model.named_buffers())
    result.undo()
    assert observer.state() == before
    assert torch.equal(norm.get_buffer("running_mean"), torch.zeros(3))


def test_they_come_back_after_an_error_too() -> None:
    observer = Observer()
    model = nn.Sequential(observer, nn.BatchNorm1d(3))
    before = observer.state()

    def interrupted() -> None:
        with restoring_state(model, {}):
            model(torch.randn(4, 3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert observer.state() == before


def test_a_diagnosis_scores_every_kind_of_statistics_from_the_same_state() -> None:
    class Fading(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = super().forward(x)
            return y / observer_of(self).count

    def observer_of(model: nn.Module) -> Observer:
        found = model.get_submodule("0")
        assert isinstance(found, Observer)
        return found

    model = Fading(Observer(), nn.BatchNorm1d(3))
    x = torch.randn(8, 3)
    report = bnc.diagnose(model, [x], loss=lambda output, batch: output.square().mean())
    assert report.scores["loss"]["batch"] == pytest.approx(report.scores["loss"]["precise"])
    assert observer_of(model).count == 0
