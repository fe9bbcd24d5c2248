"""Rows for capturing, folding, grafting, exporting and verifying."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.remedies.row import Row
from tests.zoo import IMAGE, Net, trained


def small() -> nn.Module:
    torch.manual_seed(0)
    return trained(nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)))


SMALL = (torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0)),)


def export(folder: Path, model: nn.Module, **settings: Any) -> Any:
    bnc.export(model, SMALL, folder / "a.onnx", **settings)


def verify(folder: Path, inputs: Any = SMALL, exported: bool = True) -> None:
    if exported:
        export(folder, small())
    bnc.verify(small(), folder / "a.onnx", inputs)


def partly_training(evaluated: bool) -> nn.Module:
    model = small()
    model.get_submodule("1").train()
    return model.eval() if evaluated else model


def streaming() -> nn.Module:
    return bnc.convert(small(), bnc.Adaptive(over="stream"))


class Branching(nn.Module):
    """Cannot be captured whole."""

    def __init__(self) -> None:
        super().__init__()
        self.net = trained(Net())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y if float(y.detach().sum()) > 0 else -y


def graft(changed: bool, again: bool) -> None:
    model = trained(Net())
    folded = bnc.fold(model, IMAGE)
    if changed:
        with torch.no_grad():
            model.conv.weight.mul_(2)
    folded = bnc.fold(model, IMAGE) if again else folded
    folded.graft(model)


DEPLOYMENT = (
    Row(
        "exporting/preconditions.py",
        "in training mode inside an eval model",
        lambda folder: export(folder, partly_training(evaluated=False)),
        lambda folder: export(folder, partly_training(evaluated=True)),
        slow=True,
    ),
    Row(
        "exporting/preconditions.py",
        "remember the test stream",
        lambda folder: export(folder, streaming()),
        lambda folder: export(folder, bnc.revert(streaming())),
        slow=True,
    ),
    Row(
        "exporting/verify.py",
        "there is no such file",
        lambda folder: verify(folder, exported=False),
        lambda folder: verify(folder),
        slow=True,
    ),
    Row(
        "folding/folding.py",
        "only its parts",
        lambda _: bnc.fold(Branching().eval(), IMAGE).captured,
        lambda _: (
            bnc.fold(Branching().net, IMAGE).captured,
            bnc.fold(Branching().eval(), IMAGE).module(*IMAGE),
        ),
        slow=True,
    ),
    Row(
        "folding/grafting.py",
        "is not what was folded",
        lambda _: graft(changed=True, again=False),
        lambda _: graft(changed=True, again=True),
    ),
    Row(
        "graphs/parts.py",
        "does not run on the example inputs",
        lambda _: bnc.fold(Branching().eval(), (torch.randn(2, 5, 4, 4),)),
        lambda _: bnc.fold(Branching().eval(), IMAGE),
    ),
)
