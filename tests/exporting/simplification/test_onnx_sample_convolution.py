"""A layer with a kernel for each sample has a file of any batch size."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.verification.files.onnx_runner import OnnxRunner
from tests.zoo import trained

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class Mixture(nn.Module):
    """A mixture of four kernels for each sample, computed as one grouped convolution."""

    def __init__(self, axes: int, *, bias: bool, groups: int, **settings: Any) -> None:
        super().__init__()
        self.shape = (8, 4 // groups, *[3] * axes)
        self.route = nn.Linear(4, 4)
        self.bank = nn.Parameter(torch.randn(4, torch.Size(self.shape).numel()))
        self.biases = nn.Parameter(torch.randn(4, 8)) if bias else None
        self.norm, self.axes = NORMS[axes](8), axes
        self.settings, self.groups = settings, groups

    def forward(self, x: Tensor) -> Tensor:
        batch, axes = x.shape[0], self.axes
        shares = self.route(x.flatten(2).mean(2)).softmax(1)
        weight = (shares @ self.bank).view(batch * 8, *self.shape[1:])
        bias = None if self.biases is None else (shares @ self.biases).view(batch * 8)
        image, groups = x.reshape(1, batch * 4, *x.shape[2:]), self.groups * batch
        y = CONVOLUTIONS[axes](image, weight, bias, groups=groups, **self.settings)
        return torch.relu(self.norm(y.view(batch, 8, *y.shape[2:])))


CASES: dict[str, tuple[int, Mapping[str, Any]]] = {
    "padded": (2, {"bias": True, "groups": 1, "padding": 1}),
    "one filter for each channel": (2, {"bias": False, "groups": 4, "stride": 2}),
    "dilated": (2, {"bias": False, "groups": 2, "dilation": (2, 1), "padding": (2, 0)}),
    "same": (2, {"bias": True, "groups": 1, "padding": "same"}),
    "a sequence": (1, {"bias": True, "groups": 2, "padding": 1}),
    "a volume": (3, {"bias": False, "groups": 1, "padding": 1}),
}


def mixture(axes: int, settings: Mapping[str, Any]) -> tuple[nn.Module, Tensor]:
    return trained(Mixture(axes, **settings)).eval(), torch.randn(2, 4, *[7, 6, 5][:axes])


@pytest.mark.parametrize("name", CASES)
def test_it_is_right_in_batches_of_any_size(name: str, tmp_path: Path) -> None:
    model, x = mixture(*CASES[name])
    report = bnc.export(model, (x,), tmp_path / "m.onnx")
    assert report.verdict == "agrees"
    assert report.facts["folded"] == 1
    file = OnnxRunner(tmp_path / "m.onnx")
    assert not isinstance(file.shape_of("x")[0], int)
    for rows in (1, 5):
        other = torch.randn(rows, *x.shape[1:])
        outputs = file.run(file.feed([("x", other)]))
        torch.testing.assert_close(outputs, [model(other)], rtol=1e-4, atol=1e-5)


def test_it_is_right_at_images_of_any_size(tmp_path: Path) -> None:
    model, x = mixture(*CASES["padded"])
    free = {"x": {0: "batch", 2: "height", 3: "width"}}
    report = bnc.export(model, (x,), tmp_path / "m.onnx", dynamic_shapes=free)
    assert report.verdict == "agrees"
    assert bnc.verify(model, tmp_path / "m.onnx", (torch.randn(3, 4, 5, 9),)).verdict == "agrees"


class Pairs(nn.Module):
    """The kernels of the samples are applied to two images, each of which holds all samples."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.kernel = nn.BatchNorm2d(4), nn.Linear(4, 6 * 4 * 9)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        batch = x.shape[0]
        weight = self.kernel(x.mean((2, 3))).view(batch * 6, 4, 3, 3)
        image = x.reshape(1, batch * 4, *x.shape[2:])
        y = F.conv2d(torch.cat([image, image.cos()]), weight, groups=batch)
        return y.view(2, batch, 6, *y.shape[2:]).sum(0)


def test_several_images_of_all_samples_have_a_file_of_the_given_batch_size(tmp_path: Path) -> None:
    model, x = trained(Pairs()).eval(), torch.randn(2, 4, 7, 6)
    report = bnc.export(model, (x,), tmp_path / "m.onnx")
    assert report.verdict == "agrees"
    assert any("batches of 2 only" in note for note in report.notes)


@pytest.mark.parametrize("form", [{"opset": 17}, {"dtype": torch.float16}])
@pytest.mark.filterwarnings("ignore")
def test_it_is_written_in_other_forms_too(form: Mapping[str, Any], tmp_path: Path) -> None:
    model, x = mixture(*CASES["padded"])
    bnc.export(model, (x,), tmp_path / "m.onnx", **form)
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "m.onnx")).graph.node]
    assert "Scan" in kinds


def test_a_fixed_batch_needs_no_loop(tmp_path: Path) -> None:
    model, x = mixture(*CASES["padded"])
    bnc.export(model, (x,), tmp_path / "m.onnx", dynamic_shapes=({},))
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "m.onnx")).graph.node]
    assert "Scan" not in kinds
    assert "Conv" in kinds
