"""Rows for norms that are restored to folded models."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import bnconvert as bnc
from tests.remedies.row import Row

IMAGES = torch.linspace(-1, 1, 8 * 3 * 4 * 4).reshape(8, 3, 4, 4).sin()


class Layers(nn.Module):
    """A folded model."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv(x).relu())


class Branching(nn.Module):
    """A folded model with a layer that few inputs reach."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        layer = self.conv if float(x.sum()) < 1e9 else self.other
        return cast(Tensor, layer(x).relu())


def restored_alone(layer: nn.Module, layers: dict[str, bool]) -> nn.Module:
    return bnc.restore(nn.Sequential(layer, nn.ReLU()), [IMAGES], layers=layers)


def with_forward(layer: nn.Module) -> nn.Module:
    layer.forward = abs
    return layer


def named(name: str) -> nn.Module:
    layer = nn.Conv2d(3, 4, 1)
    setattr(layer, name, "l2")
    return layer


RESTORING = (
    Row(
        "conversion/restoring/restoration.py",
        "eps is",
        lambda _: bnc.restore(Layers(), [IMAGES], eps=0),
        lambda _: bnc.restore(Layers(), [IMAGES], eps=1e-5),
    ),
    Row(
        "conversion/restoring/restored_norm.py",
        "a batch norm after it takes",
        lambda _: bnc.restore(Layers(), [IMAGES[0]]),
        lambda _: bnc.restore(Layers(), [IMAGES]),
    ),
    Row(
        "conversion/restoring/restored_norm.py",
        "no batch reached it",
        lambda _: bnc.restore(Branching(), [IMAGES], layers={"*": True}),
        lambda _: bnc.restore(Branching(), [IMAGES], layers={"other": False, "*": True}),
    ),
    Row(
        "conversion/restoring/restore_plan.py",
        "has no convolution and no linear layer",
        lambda _: bnc.restore(nn.ReLU(), [IMAGES]),
        lambda _: bnc.restore(Layers(), [IMAGES]),
    ),
    Row(
        "conversion/restoring/decisions.py",
        "matches none of {} layers",
        lambda _: bnc.plan_restore(Layers(), layers={"haed": True}),
        lambda _: bnc.plan_restore(Layers(), layers={"conv": True}),
    ),
    Row(
        "conversion/restoring/decisions.py",
        "is a linear layer",
        lambda _: bnc.restore(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), [torch.randn(8, 3)]),
        lambda _: bnc.restore(
            nn.Sequential(nn.Linear(3, 4), nn.ReLU()), [torch.randn(8, 3)], layers={"0": True}
        ),
    ),
    Row(
        "conversion/restoring/decisions.py",
        "has no bias",
        lambda _: restored_alone(nn.Conv2d(3, 4, 1, bias=False), {}),
        lambda _: restored_alone(nn.Conv2d(3, 4, 1, bias=False), {"0": True}),
    ),
    Row(
        "conversion/restoring/decisions.py",
        "is an output layer",
        lambda _: bnc.restore(nn.Sequential(nn.Conv2d(3, 4, 1)), [IMAGES]),
        lambda _: bnc.restore(nn.Sequential(nn.Conv2d(3, 4, 1)), [IMAGES], layers={"0": True}),
    ),
    Row(
        "conversion/restoring/decisions.py",
        "lies in a forward that cannot be traced",
        lambda _: bnc.restore(Branching(), [IMAGES]),
        lambda _: bnc.restore(Branching(), [IMAGES], layers={"conv": True}),
    ),
    Row(
        "conversion/restoring/decisions.py",
        "its forward is replaced on the object",
        lambda _: restored_alone(with_forward(nn.Conv2d(3, 4, 1)), {}),
        lambda _: restored_alone(nn.Conv2d(3, 4, 1), {}),
    ),
    Row(
        "conversion/restoring/decisions.py",
        "is parametrized",
        lambda _: restored_alone(parametrizations.weight_norm(nn.Conv2d(3, 4, 1)), {}),
        lambda _: restored_alone(
            parametrize.remove_parametrizations(
                parametrizations.weight_norm(nn.Conv2d(3, 4, 1)), "weight"
            ),
            {},
        ),
    ),
    Row(
        "conversion/restoring/decisions.py",
        "has an attribute",
        lambda _: restored_alone(named("norm"), {}),
        lambda _: restored_alone(named("normalize"), {}),
    ),
)
