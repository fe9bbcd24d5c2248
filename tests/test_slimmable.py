"""Slimmable networks, whose norms have statistics for each width, or slices of one set."""

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.precise import statistics_of
from tests.test_changed_weights import assert_exact, recompute


class Slimmable(nn.Module):
    """One convolution of which each width uses the first channels, and a norm for each width."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.norms = nn.ModuleDict({str(width): nn.BatchNorm2d(width) for width in (4, 8)})
        self.width = 8

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.conv.weight[: self.width], self.conv.bias[: self.width]  # type: ignore[index]
        output: Tensor = self.norms[str(self.width)](nn.functional.conv2d(x, weight, bias))
        return output


def test_a_slimmable_network_width_by_width() -> None:
    model = Slimmable()
    for width in (4, 8):
        model.width = width
        report = str(recompute(model))
        other = 12 - width
        assert f"norms.{other}: left alone: no batch reached it" in report
    measured = statistics_of(model)
    assert torch.allclose(measured["norms.4"][0], measured["norms.8"][0][:4])
    assert measured["norms.4"][0].any()


class OnceForAll(Slimmable):
    """Slices the statistics of the widest norm too, as once-for-all networks do."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.conv.weight[: self.width], self.conv.bias[: self.width]  # type: ignore[index]
        norm = self.norms["8"]
        mean, var = norm.running_mean[: self.width], norm.running_var[: self.width]  # type: ignore[index]
        return nn.functional.batch_norm(nn.functional.conv2d(x, weight, bias), mean, var)


def test_sliced_statistics_are_refused_and_say_what_to_do() -> None:
    model = OnceForAll()
    model.width = 4
    with pytest.raises(bnc.StatisticsError, match=r"4 of 8 channels.*or one of that width"):
        recompute(model)
    sub_network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))  # as the remedy says
    weight = model.get_parameter("conv.weight")
    sub_network.get_parameter("0.weight").data.copy_(weight[:4])
    assert_exact(sub_network)
