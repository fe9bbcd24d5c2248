"""Sick models whose findings `fold`, `export` and `verify` report: what a graph or a file is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.doctor.patients import usual
from tests.doctor.sick_model import Patient, SickModel, Verb
from tests.zoo import Net, trained

INPUTS = (torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)),)
#: Writes a file of a model.
Writer = Callable[[nn.Module, Path], None]


def plain() -> nn.Module:
    """Return a trained network in eval mode."""
    return trained(Net()).eval()


def given(model: Callable[[], nn.Module], verb: Verb, file: Writer | None = None) -> Any:
    """Return what makes a patient of a model that is folded, exported, or compared with a file."""
    return lambda: Patient(model(), example_inputs=INPUTS, verb=verb, file=file)


def before_padding(padding: int) -> Callable[[], nn.Module]:
    """Return what makes a norm before a convolution, into which it goes where nothing pads."""
    return lambda: trained(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, padding=padding)))


def untracked() -> nn.Module:
    """Return a network whose norm has no running statistics."""
    return Net(lambda channels: nn.BatchNorm2d(channels, track_running_stats=False)).eval()


def converted(rewrite: Any) -> Callable[[], nn.Module]:
    """Return what makes a network with another norm."""
    return lambda: bnc.convert(plain(), rewrite)


class Counting(Net):
    """A network that computes with a number which it reads from its input."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)
        return y * int(x.abs().max() > 0)


def with_bias(value: float) -> Callable[[], nn.Module]:
    """Return what makes a network whose output is zero for a very negative bias of its norm."""

    def make() -> nn.Module:
        model = nn.Sequential(nn.Conv2d(3, 4, 1), trained(nn.BatchNorm2d(4)), nn.ReLU())
        nn.init.constant_(model.get_parameter("1.bias"), value)
        return model.eval()

    return make


def switched_off(by: float) -> Callable[[], nn.Module]:
    """Return what makes a network with a branch that is multiplied by a number."""

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), trained(nn.BatchNorm2d(3))
            nn.init.constant_(self.norm.weight, by)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = x + self.norm(self.conv(x))
            return y

    return lambda: Residual().eval()


def negative_variance() -> nn.Module:
    """Return a network whose outputs are NaN."""
    model = plain()
    model.get_buffer("norm.running_var").fill_(-1)
    return model


def by_torch(model: nn.Module, path: Path) -> None:
    """Write a file with torch's own exporter, as it is by default."""
    torch.onnx.export(model, INPUTS, path, dynamo=True, verbose=False)


def by_bnconvert(model: nn.Module, path: Path) -> None:
    """Write a file with bnconvert."""
    bnc.export(model, INPUTS, path)


def in_training_mode(model: nn.Module, path: Path) -> None:
    """Write a file whose norms were exported in training mode."""
    by_torch(model, path)
    file = onnx.load(path)
    for node in file.graph.node:
        if node.op_type == "BatchNormalization":
            node.attribute.append(onnx.helper.make_attribute("training_mode", 1))
            node.output.extend([f"{node.output[0]}_{name}" for name in ("mean", "var")])
    onnx.save(file, path)


def then(write: Writer, tensor: str, value: float) -> Writer:
    """Return what writes a file of a model, and changes the model afterwards."""

    def write_and_change(model: nn.Module, path: Path) -> None:
        write(model, path)
        with torch.no_grad():
            model.state_dict()[tensor].mul_(value)

    return write_and_change


BIAS, WEIGHT = "conv.weight", "norm.weight"
#: Of `fold`.
SICK_GRAPHS = (
    SickModel("BN401", given(before_padding(1), "fold"), given(before_padding(0), "fold")),
    SickModel("BN402", given(untracked, "fold"), given(plain, "fold"), severity="warning"),
    SickModel("BN408", given(converted(bnc.Ghost(2)), "fold"), given(plain, "fold")),
    SickModel("BN409", given(usual, "fold"), given(plain, "fold"), "model.eval()"),
)
#: Of `export` and `verify`; to write and to compare a file takes a second.
SICK_FILES = (
    SickModel(
        "BN402",
        given(before_padding(1), "verify", in_training_mode),
        given(before_padding(1), "verify", by_torch),
        severity="error",
    ),
    SickModel("BN403", given(untracked, "export"), given(plain, "export"), severity="error"),
    SickModel(
        "BN403",
        given(converted(bnc.Adaptive()), "export"),
        given(converted(bnc.Frozen()), "export"),
        severity="info",
    ),
    SickModel(
        "BN404",
        given(plain, "verify", then(by_torch, WEIGHT, 2.0)),
        given(plain, "verify", by_torch),
    ),
    SickModel("BN410", given(plain, "verify", by_torch), given(plain, "verify", by_bnconvert)),
    SickModel("BN412", given(lambda: trained(Counting()).eval(), "export"), given(plain, "export")),
    SickModel(
        "BN413",
        given(with_bias(-1e6), "export"),
        given(with_bias(0.0), "export"),
        severity="error",
    ),
    SickModel(
        "BN413",
        given(switched_off(0.0), "export"),
        given(switched_off(0.5), "export"),
        severity="warning",
    ),
    SickModel("BN414", given(negative_variance, "export"), given(plain, "export")),
    SickModel(
        "BN415",
        given(plain, "verify", then(by_bnconvert, WEIGHT, 2.0)),
        given(plain, "verify", by_bnconvert),
        severity="error",
    ),
    SickModel(
        "BN415",
        given(plain, "verify", then(by_bnconvert, BIAS, 1.0 + 2**-23)),
        given(plain, "verify", by_bnconvert),
        severity="warning",
    ),
    SickModel(
        "BN416",
        given(lambda: Net().eval(), "verify", by_torch),
        given(plain, "verify", by_torch),
    ),
)
