"""What must stand, or be refused: norms that are no fixed map, and models that cannot run yet."""

from typing import Any

import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.topologies.layers import norm_of, normed
from tests.topologies.topology import Topology


class WeightOfInput(nn.Module):
    """A convolution whose weight is made from the input: nothing to fold into."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv.weight * x.mean().sigmoid()
        y: Tensor = self.norm(nn.functional.conv2d(x, weight, self.conv.bias))
        return y


class Twice(nn.Module):
    """A convolution and a norm; the norm's input is read by the norm and by arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        output: Tensor = self.norm(y) * y
        return output


def _negative_variance(model: Any) -> None:
    model[1].running_var[0] = -2


def _without_statistics() -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6, track_running_stats=False))


def _grouped() -> nn.Module:
    conv = nn.Conv2d(4, 6, 3)
    return nn.Sequential(conv, norm_of(conv), nn.GroupNorm(2, 6), nn.BatchNorm2d(6))


TOPOLOGIES = (
    Topology(
        "bn_train_mode_TRAP",
        lambda: normed(nn.Conv2d(4, 6, 3)),
        gone=0,
        standing=("training mode",),
        adjust=lambda model: model[1].train(),
        unexportable=bnc.ExportError,
    ),
    Topology(
        "bn_no_running_stats_TRAP",
        _without_statistics,
        gone=0,
        standing=("no running statistics",),
        unexportable=bnc.VerificationError,
    ),
    Topology(
        "bn_negative_variance_TRAP",
        lambda: normed(nn.Conv2d(4, 6, 3)),
        gone=0,
        standing=("negative variance",),
        adjust=_negative_variance,
        unexportable=bnc.InconclusiveError,
    ),
    Topology(
        "weight_of_input_TRAP",  # each row depends on its batch, in the model as in the file
        WeightOfInput,
        gone=0,
        standing=("computed",),
    ),
    Topology("norm_times_its_input_TRAP", Twice, gone=0, standing=("also read by",)),
    Topology("group_norm_between", _grouped, standing=("group_norm",)),
    Topology(
        "bn_after_sort_TRAP",
        lambda: nn.Sequential(nn.Conv2d(4, 6, 3), Sorted(), nn.BatchNorm2d(6)),
        gone=0,
        standing=("sort",),
    ),
)


class Sorted(nn.Module):
    """The channels of each pixel by size: no linear operator."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sort(x, dim=1).values
