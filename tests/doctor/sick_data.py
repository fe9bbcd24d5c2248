"""Sick models whose findings need data: `diagnose` reports them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.doctor.sick_model import Patient, SickModel


def patient(momentum: float = 0.1, steps: int = 80, scale: float = 1.0) -> Callable[[], Patient]:
    """Return what makes a network that some training batches ran through.

    Args:
        momentum: of its norm.
        steps: how many batches.
        scale: by which the layer before the norm changes afterwards.
    """

    def build() -> Patient:
        model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8, momentum=momentum))
        batches = list((torch.randn(128, 3, 8, 8) * 5 + 3).split(16))
        for step in range(steps):
            model(batches[step % len(batches)])
        with torch.no_grad():
            model.get_parameter("0.weight").mul_(scale)
        return Patient(model, batches, by_data=True)

    return build


def falsely_overfit(factor: float) -> Callable[[], Patient]:
    """Return what makes a network whose loss is bad where its running variance is off."""

    def build() -> Patient:
        sick = patient()()
        sick.model.get_buffer("1.running_var").mul_(factor)
        return Patient(sick.model, sick.batches, by_data=True, further={"loss": loss})

    def loss(output: Tensor, batch: Tensor) -> Tensor:
        return (output.std((1, 2, 3)) - 1).abs()

    return build


RECOMPUTE = "bnc.recompute_statistics"
SICK_DATA = (
    SickModel("BN103", patient(steps=6), patient(), RECOMPUTE),
    SickModel("BN201", patient(scale=3.0), patient(), RECOMPUTE),
    SickModel("BN202", falsely_overfit(30.0), falsely_overfit(1.0), RECOMPUTE),
)
