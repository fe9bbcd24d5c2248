"""Sick models whose findings are about samples and batches: `diagnose` reports them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.doctor.sick_data import RECOMPUTE
from tests.doctor.sick_model import Patient, SickModel

#: Makes batches of images.
Batches = Callable[[], list[Tensor]]


def images(count: int, seed: int = 0) -> Tensor:
    """Return images, half of whose variance is that of their means."""
    generator = torch.Generator().manual_seed(seed)
    own, of_image = (torch.randn(count, 3, size, size, generator=generator) for size in (8, 1))
    return own + of_image


def cut(x: Tensor, size: int = 32) -> list[Tensor]:
    """Return batches of images, in their order."""
    return list(torch.split(x, size))


def batches(count: int = 256, size: int = 32, factor: float = 1.0) -> Batches:
    """Return what makes shuffled batches."""
    return lambda: cut(images(count) * factor, size)


def given(make: Batches, **further: Any) -> Callable[[], Patient]:
    """Return what makes a network with precise statistics of the batches that it is given."""

    def patient() -> Patient:
        data = make()
        convs = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3)
        model = nn.Sequential(*convs, nn.BatchNorm2d(8), nn.ReLU(), nn.BatchNorm2d(8))
        bnc.recompute_statistics(model, [x for x in data if x.isfinite().all()])
        return Patient(model, data, by_data=True, further=further)

    return patient


def stale() -> Patient:
    """Return a network all of whose norms are stale."""
    patient = given(batches())()
    for name in ("1.running_var", "4.running_var", "6.running_var"):
        patient.model.get_buffer(name).mul_(9)
    return patient


def apart(distance: float) -> Batches:
    """Return what makes batches whose every other image is brighter."""
    shift = torch.tensor([0.0, distance] * 16).view(-1, 1, 1, 1)
    return lambda: [x + shift for x in cut(images(256))]


def one_by_one(distance: float) -> Batches:
    """Return what makes batches of which every other one is brighter."""
    return lambda: [x + distance * (i % 2) for i, x in enumerate(cut(images(256)))]


def in_groups(size: int) -> Batches:
    """Return what makes batches with groups of equal images."""
    return lambda: cut(images(256 // size).repeat_interleave(size, 0))


def sorted_by_brightness() -> list[Tensor]:
    """Return batches of ever brighter images."""
    x = images(256)
    return cut(x[x.mean((1, 2, 3)).argsort()])


def overflowing() -> list[Tensor]:
    """Return batches, the last of which holds an infinity."""
    x = images(256)
    x[-1] = float("inf")
    return cut(x)


MIXED, SEPARATED = [["day", "night"] * 16] * 8, ["real", "fake"] * 4
SEPARATE = "bnc.Separate("
SICK_SAMPLES = (
    SickModel("BN206", given(apart(4), domains=MIXED), given(apart(0), domains=MIXED), SEPARATE),
    SickModel(
        "BN207",
        given(one_by_one(4), domains=SEPARATED),
        given(one_by_one(0), domains=SEPARATED),
        SEPARATE,
    ),
    SickModel("BN208", given(in_groups(8)), given(batches())),
    SickModel("BN209", given(sorted_by_brightness), given(batches())),
    SickModel("BN210", stale, given(batches()), RECOMPUTE),
    SickModel("BN211", given(overflowing), given(batches()), severity="error"),
    SickModel("BN211", given(batches(factor=1e5)), given(batches()), severity="info"),
    SickModel("BN212", given(batches(8, 4)), given(batches())),
)
