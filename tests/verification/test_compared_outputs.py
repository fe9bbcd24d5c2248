"""Which outputs of a model are compared with which of a file, whatever they are."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.verification.verification import prove
from tests.zoo import IMAGE, Net, trained


def test_integers_and_outputs_without_rows_are_compared_too(tmp_path: Path) -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = self.net(x)
            return {"best": y.flatten(1).argmax(1), "mean": y.mean(), "above": y > 0}

    report = bnc.export(trained(Mixed()), IMAGE, tmp_path / "mixed.onnx")
    assert len({check.output for check in report.checks}) == 3
    rows = {check.output for check in report.checks if check.measure == "rows"}
    assert len(rows) == 2  # the mean over the batch has none


def test_another_number_of_outputs_is_caught(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.net(x)
            return y, y

    model = trained(Two())
    bnc.export(trained(Net()), IMAGE, tmp_path / "one.onnx")
    report = prove(model, Example.of(IMAGE), tmp_path / "one.onnx").report
    assert {check.detail for check in report.failures} == {"the file has 1 output, the model 2"}


class Sized(nn.Module):
    """It returns its batch size beside a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return self.body(x), x.shape[0]


def test_numbers_that_a_file_holds_as_tensors_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = trained(Sized()), tmp_path / "others.onnx"
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    torch.onnx.export(model, IMAGE, path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    report = bnc.verify(model, path, IMAGE)
    assert len({check.output for check in report.checks}) == 2
    monkeypatch.setattr(model, "forward", lambda x: (model.body(x), 7))
    with pytest.raises(bnc.VerificationError, match="sym_size"):
        bnc.verify(model, path, IMAGE)
