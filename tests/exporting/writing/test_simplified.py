"""A simpler file, by onnxslim, is shipped only where it is proven as any other."""

from pathlib import Path
from typing import Any

import onnx
import onnxslim
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.exporting.writing import onnx_file
from bnconvert.folding.folding import fold
from bnconvert.verification.verification import prove
from tests.zoo import IMAGE, trained


class Windows(nn.Module):
    """It cuts an image with slices along two axes, and flattens by its own shape."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))[:, :, 1:6, 2:7]
        y = F.scaled_dot_product_attention(y, y, y)
        return y.permute(0, 2, 3, 1).reshape(y.shape[0], -1)


def nodes_in(path: Path) -> int:
    return len(onnx.load(path).graph.node)


def test_shape_arithmetic_is_simplified(tmp_path: Path) -> None:
    model = trained(Windows())
    report = bnc.export(model, IMAGE, tmp_path / "m.onnx")
    assert {check.case for check in report.checks} >= {"given and generated rows, batch 4"}
    assert report.title == "m.onnx agrees with Windows"
    assert {p.name for p in tmp_path.iterdir()} == {"m.onnx"}
    assert nodes_in(tmp_path / "m.onnx") < nodes_in(plain(model, tmp_path / "plain.onnx"))


def plain(model: nn.Module, path: Path, dynamic_shapes: Any = None) -> Path:
    """Write a file that is not simplified."""
    folded = fold(model, IMAGE, dynamic_shapes=dynamic_shapes)
    onnx_file.write_folded(folded, path, onnx_file.PLAIN, any_batch=dynamic_shapes is None)
    return path


class Cells(nn.Module):
    """It writes its own height and width, and adds them to every cell of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))[:, :, 1:, 1:]
        height, width = y.shape[2:]
        y = y.permute(0, 2, 3, 1).reshape(-1, height * width, 4).permute(0, 2, 1)
        y = y.reshape(-1, 4, height, width)
        return y + torch.arange(width, device=x.device)


FREE = ({0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO},)


def test_given_shapes_are_simplified_too(tmp_path: Path) -> None:
    model = trained(Cells())
    report = bnc.export(model, IMAGE, tmp_path / "m.onnx", dynamic_shapes=FREE)
    assert report.verdict == "agrees"
    assert nodes_in(tmp_path / "m.onnx") < nodes_in(plain(model, tmp_path / "plain.onnx", FREE))
    other = torch.randn(3, 3, 5, 12)
    assert bnc.verify(model, tmp_path / "m.onnx", (other,)).verdict == "agrees"


def test_a_simpler_file_that_takes_one_axis_for_another_is_not_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Height and width are equal in the given image."""
    whole, swapped = onnxslim.slim, list[int]()

    def slim(model: onnx.ModelProto, **options: object) -> onnx.ModelProto:
        simpler: onnx.ModelProto = whole(model)
        for node in simpler.graph.node:
            held = {attribute.name: attribute for attribute in node.attribute}
            if node.op_type == "Shape" and held["start"].i in (2, 3):
                swapped.append(held["start"].i)
                held["start"].i = 5 - held["start"].i
                held["end"].i = held["start"].i + 1
        return simpler

    monkeypatch.setattr(onnxslim, "slim", slim)
    model, path = trained(Cells()), tmp_path / "m.onnx"
    assert bnc.export(model, IMAGE, path, dynamic_shapes=FREE).verdict == "agrees"
    assert set(swapped) == {2, 3}
    assert nodes_in(path) == nodes_in(plain(model, tmp_path / "plain.onnx", FREE))
    assert bnc.verify(model, path, (torch.randn(3, 3, 5, 12),)).verdict == "agrees"


def test_an_untrained_network_is_simplified_where_its_copy_is_right_too(tmp_path: Path) -> None:
    model = Windows().eval()
    report = bnc.export(model, IMAGE, tmp_path / "m.onnx")
    assert any(check.case.startswith("other statistics") for check in report.checks)
    assert nodes_in(tmp_path / "m.onnx") < nodes_in(plain(model, tmp_path / "plain.onnx"))


def test_where_only_the_copy_is_simplified_the_copy_of_what_is_shipped_is_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slim, called = onnxslim.slim, list[object]()
    proven = list[tuple[str, int]]()

    def once(model: onnx.ModelProto, **options: Any) -> object:
        if called:
            raise ValueError
        called.append(model)
        return slim(model, **options)

    def noted(model: nn.Module, example: Any, path: Path, claim: Any) -> Any:
        proven.append((path.name, nodes_in(path)))
        return prove(model, example, path, claim)

    monkeypatch.setattr(onnxslim, "slim", once)
    monkeypatch.setattr("bnconvert.exporting.candidate.prove", noted)
    assert bnc.export(Windows().eval(), IMAGE, tmp_path / "m.onnx").verdict == "agrees"
    (_, simpler), own, (other, nodes) = proven
    shipped = nodes_in(tmp_path / "m.onnx")
    assert simpler < shipped
    assert own == ("m.onnx", shipped)
    assert (other != "m.onnx", nodes) == (True, shipped)


def test_a_simplifier_that_is_right_for_untrained_statistics_only_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = Windows().eval(), tmp_path / "m.onnx"
    always = onnxslim.slim(onnx.load(plain(model, tmp_path / "plain.onnx")))
    monkeypatch.setattr(onnxslim, "slim", lambda _, **options: always)
    assert bnc.export(model, IMAGE, path).verdict == "agrees"
    assert nodes_in(path) == nodes_in(tmp_path / "plain.onnx")


class Twice(nn.Module):
    """Computes one thing twice, and adds nothing: no operator moves numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x).sigmoid() * self.conv(x).sigmoid().sqrt()
        return y + torch.zeros(1)


def test_a_network_without_norms_and_shapes_has_no_more_nodes_than_onnxslims(
    tmp_path: Path,
) -> None:
    model = Twice().eval()
    report = bnc.export(model, IMAGE, tmp_path / "m.onnx")
    assert report.failures == ()
    onnx_file.write(model, IMAGE, {}, None, tmp_path / "bare.onnx")
    bare = onnx.load(tmp_path / "bare.onnx")
    assert nodes_in(tmp_path / "m.onnx") <= len(onnxslim.slim(bare).graph.node) < 6


def test_a_plain_network_is_not_handed_to_a_simplifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would find nothing, and take its time."""
    asked: list[object] = []
    monkeypatch.setattr(onnxslim, "slim", lambda model, **options: asked.append(model))
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(), nn.Flatten(), nn.Linear(144, 3)
    bnc.export(trained(nn.Sequential(*layers)), IMAGE, tmp_path / "m.onnx")
    assert asked == []


def test_a_simpler_file_that_is_wrong_is_not_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simplifiers are silently wrong here and there: theirs is proven as everybody's."""

    def slim(model: onnx.ModelProto, **options: object) -> onnx.ModelProto:
        weights = model.graph.initializer
        wrong = next(w for w in weights if w.name.endswith("conv.weight"))
        wrong.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(wrong) * 1.001, wrong.name))
        last = model.graph.node[-1]  # and one node fewer
        model.graph.node[-2].output[0] = last.output[0]
        del model.graph.node[-1], model.graph.output[0].type.tensor_type.shape.dim[:]
        return model

    monkeypatch.setattr(onnxslim, "slim", slim)
    model = trained(Windows())
    report = bnc.export(model, IMAGE, tmp_path / "m.onnx")
    assert report.failures == ()
    assert bnc.verify(model, tmp_path / "m.onnx", IMAGE).failures == ()


@pytest.mark.parametrize("gives", [RuntimeError("no"), None])
def test_without_a_simplifier_that_works_the_file_stays_as_it_is(
    gives: Exception | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slim(model: onnx.ModelProto, **options: object) -> onnx.ModelProto:
        if gives:
            raise gives
        return model  # with all its nodes

    monkeypatch.setattr(onnxslim, "slim", slim)
    assert bnc.export(trained(Windows()), IMAGE, tmp_path / "m.onnx").failures == ()
