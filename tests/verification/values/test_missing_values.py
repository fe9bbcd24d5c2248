"""Files that lack operators of their model, a bias or the order of its outputs say so."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.zoo import trained

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Steps(nn.Module):
    """Two convolutions with norms and a head; what a test replaces is left out of a file."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.second, self.act = nn.Conv2d(6, 5, 3, padding=1), nn.ReLU()
        self.last, self.pool, self.head = nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Linear(5, 4)
        self.scores: nn.Module = nn.Softmax(-1)

    def forward(self, x: Tensor) -> Any:
        y = self.second(self.act(self.norm(self.first(x))))
        return self.scores(self.head(self.pool(self.last(y)).flatten(1)))


def without(*paths: str) -> Callable[[Steps], None]:
    def change(model: Steps) -> None:
        for path in paths:
            setattr(model, path, nn.Identity())

    return change


def without_bias(path: str) -> Callable[[Steps], None]:
    def change(model: Steps) -> None:
        nn.init.zeros_(model.get_parameter(f"{path}.bias"))

    return change


def verdict_on(model: nn.Module, written: nn.Module, path: Path) -> list[str]:
    """Return what is said of another model's file."""
    torch.onnx.export(written, (X,), path, dynamo=True, verbose=False)
    with pytest.raises(bnc.VerificationError) as failure:
        bnc.verify(model, path, (X,))
    return [f.message for f in failure.value.report.findings if f.id == "BN404"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_bias("first"), "it should be conv2d of first"),  # the norm's remains
        (without_bias("second"), "it should be conv2d of second, and is that without its bias"),
        (without_bias("head"), "it should be linear of head, and is that without its bias"),
        (without("norm"), "relu of act, of what batch_norm of norm gives, which the file does"),
        (without("act"), "conv2d of second, of what relu of act gives, which the file does not"),
        (without("scores"), "is the model's value of linear of head, but not softmax of scores"),
    ],
)
def test_what_is_left_out_is_named(
    change: Callable[[Steps], None], words: str, tmp_path: Path
) -> None:
    model = trained(Steps())
    other = copy.deepcopy(model)
    change(other)
    (message,) = verdict_on(model, other, tmp_path / "m.onnx")
    assert words in message


class Swapped(nn.Module):
    """Returns two values, in one order or the other."""

    def __init__(self, *, back: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.back = nn.Conv2d(3, 4, 1), back

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.layer(x)
        return (y.sigmoid(), y) if self.back else (y, y.sigmoid())


def test_outputs_in_another_order_are_called_so(tmp_path: Path) -> None:
    model, other = Swapped(back=False).eval(), Swapped(back=True).eval()
    (message,) = verdict_on(model, other, tmp_path / "m.onnx")
    assert message.startswith("outputs are in another order: sigmoid is the model's output 1")


class Added(nn.Module):
    """Adds its bias itself, after its product was transposed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = (x @ self.layer.weight.T).transpose(1, 3)
        return (y + self.layer.bias.reshape(4, 1, 1)).transpose(1, 3).relu()


class Linear(Added):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x).relu()
        return y


def test_a_bias_that_the_file_adds_later_is_not_lost(tmp_path: Path) -> None:
    model, other = Linear().eval(), Added().eval()
    torch.onnx.export(other, (X,), tmp_path / "m.onnx", dynamo=True, verbose=False)
    assert bnc.verify(model, tmp_path / "m.onnx", (X,)).verdict == "agrees"
    nn.init.constant_(other.layer.bias, 1.0)
    (message,) = verdict_on(model, other, tmp_path / "m.onnx")
    assert "(Add)" in message
