"""Rows for capturing, folding and grafting."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

import bnconvert as bnc
from bnconvert.graphs.capture.capturing import capture
from bnconvert.graphs.example import Example
from tests.remedies.row import Row
from tests.zoo import IMAGE, Net, trained


class Flat(nn.Module):
    """Takes images of one size only."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.head = trained(Net()), nn.Linear(4 * 8 * 8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.net(x).flatten(1))
        return y


class Reading(Net):
    """Reads what only a norm has."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.norm.num_features == 8
        return super().forward(x)


class Asking(Net):
    """Computes something else without its norm."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if hasattr(self.norm, "running_mean") else 2 * y


def graft_of(model: nn.Module, by_module: bool) -> None:
    """Put the folded layers into the model, or run the folded module instead."""
    model = trained(model)
    folded = bnc.fold(model, IMAGE)
    if by_module:
        folded.module(*IMAGE)
    else:
        folded.graft(model)


def captured(model: nn.Module, shapes: Any = None) -> Any:
    capture(model.eval(), Example.of(IMAGE), shapes)


def graph(shapes: Any) -> nn.Module:
    """Return the module of a program, of fixed sizes or not."""
    return torch.export.export(trained(Net()), IMAGE, dynamic_shapes=shapes).module()


BATCH = ({0: Dim("batch")},)
HEIGHT = ({0: Dim("batch"), 2: Dim("height")},)
SERIES = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(0))


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


FOLDS = (
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
        "modules/folded_module.py",
        "a size that it was not made for",
        lambda _: bnc.fold(nn.BatchNorm1d(3).eval(), (SERIES[:, :, :4],)).module(SERIES),
        lambda _: bnc.fold(nn.BatchNorm1d(3).eval(), (SERIES,)).module(SERIES),
    ),
    Row(
        "graphs/capture/capture_refusals.py",
        "{}: torch.export cannot capture it ({}); {}",
        lambda _: captured(Branching()),
        lambda _: captured(Branching().net),
        slow=True,
    ),
    Row(
        "graphs/capture/capture_refusals.py",
        "nor without",
        lambda _: captured(Branching(), BATCH),
        lambda _: (
            captured(Branching().net, BATCH),
            bnc.fold(Branching().eval(), IMAGE).module(*IMAGE),
        ),
        slow=True,
    ),
    Row(
        "graphs/given_shapes.py",
        "give one of these",
        lambda _: captured(Flat(), ({4: "height"},)),
        lambda _: captured(nn.Conv2d(3, 2, 1).eval(), ({3: "height"},)),
    ),
    Row(
        "graphs/given_shapes.py",
        "names of their own",
        lambda _: captured(nn.Conv2d(3, 2, 1).eval(), ({0: "size", 2: "size"},)),
        lambda _: captured(nn.Conv2d(3, 2, 1).eval(), ({0: "batch", 2: "size"},)),
    ),
    Row(
        "graphs/capture/capture_refusals.py",
        "then the batch size varies",
        lambda _: captured(Flat(), HEIGHT),
        lambda _: captured(Flat()),
        slow=True,
    ),
    Row(
        "graphs/capture/capture_refusals.py",
        "then the batch size varies",
        lambda _: bnc.fold(graph(None), IMAGE, dynamic_shapes=HEIGHT),
        lambda _: bnc.fold(graph(HEIGHT), IMAGE, dynamic_shapes=HEIGHT),
        slow=True,
    ),
    Row(
        "folding/grafting.py",
        "only a norm has",
        lambda _: graft_of(Reading(), by_module=False),
        lambda _: graft_of(Reading(), by_module=True),
        slow=True,
    ),
    Row(
        "folding/grafting.py",
        "compute something else",
        lambda _: graft_of(Asking(), by_module=False),
        lambda _: graft_of(Asking(), by_module=True),
        slow=True,
    ),
    Row(
        "folding/grafting.py",
        "is not what was folded",
        lambda _: graft(changed=True, again=False),
        lambda _: graft(changed=True, again=True),
        slow=True,
    ),
    Row(
        "graphs/capture/parts.py",
        "does not run on the example inputs",
        lambda _: bnc.fold(Branching().eval(), (torch.randn(2, 5, 4, 4),)),
        lambda _: bnc.fold(Branching().eval(), IMAGE),
        slow=True,
    ),
)
