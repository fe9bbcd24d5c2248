"""Rows for --device."""

from unittest.mock import patch

import torch
from torch import Tensor, nn

from bnconvert.cli.device import device_of_option, moved
from tests.remedies.row import Row

META = torch.device("meta")


class Stays(nn.Linear):
    """A layer that no device but the CPU takes."""

    def to(self, device: torch.device) -> nn.Module:  # type: ignore[override]
        if device.type != "cpu":
            raise RuntimeError("out of memory")
        return self


def asked(name: str) -> torch.device:
    """Ask for a device on a machine with a phone's processor, which has no float64."""

    def without_float64(*_: object, device: str, **__: object) -> Tensor:
        if device != "cpu":
            raise TypeError("the framework doesn't support float64")
        return torch.ones(1)

    with (
        patch("torch.accelerator.is_available", lambda: True),
        patch("torch.accelerator.current_accelerator", lambda: torch.device("mps")),
        patch("torch.accelerator.device_count", lambda: 1),
        patch("torch.zeros", without_float64),
    ):
        return device_of_option(name)


DEVICE = (
    Row(
        "cli/device.py",
        "is not there",
        lambda _: asked("cuda"),
        lambda _: asked("cpu"),
    ),
    Row(
        "cli/device.py",
        "holds no numbers in float64",
        lambda _: asked("mps"),
        lambda _: asked("cpu"),
    ),
    Row(
        "cli/device.py",
        "cannot be moved there",
        lambda _: moved(Stays(2, 2), None, META),
        lambda _: moved(Stays(2, 2), None, torch.device("cpu")),
    ),
)
