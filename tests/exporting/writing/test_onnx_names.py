import warnings
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.exporting.writing.onnx_form import OnnxForm
from bnconvert.exporting.writing.onnx_names import output_keys, rename
from bnconvert.exporting.writing.onnx_tracing import FlatCall, write_trace
from bnconvert.graphs.example import Example
from tests.zoo import trained

X = (torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)),)


class TwoHeads(nn.Module):
    """Returns its logits twice, and a map called as an operator inside is."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Any:
        h = self.norm(self.conv(x)).relu()
        y = self.linear(h.mean((2, 3)))
        return {"linear": h, "logits": y, "x": y + 1, "parts": [y * 2, y * 3]}


def names(path: Path) -> tuple[list[str], list[str], int]:
    model = onnx.load(str(path))
    inputs, outputs = ([v.name for v in part] for part in (model.graph.input, model.graph.output))
    return inputs, outputs, model.opset_import[0].version


@dataclass
class Outputs:
    boxes: Tensor
    scores: Tensor
    note: str = ""


Pair = namedtuple("Pair", "left right")
torch.export.register_dataclass(Outputs)
T = torch.zeros(1)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (T, [""]),
        ((T, T), ["", ""]),
        ({"logits": T, "aux": {"logits": T}}, ["logits", "aux_logits"]),
        (Pair(T, T), ["left", "right"]),
        (Outputs(T, T), ["boxes", "scores"]),
        ({"features": [T, T], "count": 3}, ["features_0", "features_1"]),
        ([{"boxes": T}, {"boxes": T}], ["boxes_0", "boxes_1"]),
        ([{"boxes": T, "labels": T}], ["boxes", "labels"]),
    ],
)
def test_keys_and_fields_are_names(output: Any, expected: list[str]) -> None:
    assert output_keys(output) == expected


def test_a_file_calls_its_outputs_as_the_model_does(tmp_path: Path) -> None:
    report = bnc.export(trained(TwoHeads()), X, tmp_path / "m.onnx")
    own = ["linear", "logits", "x_output", "parts_0", "parts_1"]
    assert names(tmp_path / "m.onnx")[:2] == (["x"], own)
    assert {check.output for check in report.checks} == set(own)
    assert bnc.verify(trained(TwoHeads()), tmp_path / "m.onnx", X).verdict == "agrees"


def test_a_traced_file_calls_its_outputs_as_the_model_does(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_trace(FlatCall(TwoHeads().eval(), Example(X, {})), [("x", *X)], tmp_path / "m.onnx")
    inputs, outputs, opset = names(tmp_path / "m.onnx")
    assert (inputs, outputs[:3], opset) == (["x"], ["linear", "logits", "x_output"], 18)
    assert bnc.verify(TwoHeads(), tmp_path / "m.onnx", X).verdict == "agrees"


def test_names_and_opset_are_as_asked_for(tmp_path: Path) -> None:
    model = trained(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    path = tmp_path / "m.onnx"
    bnc.export(model, X, path, opset=18, input_names=["image"], output_names=["map"])
    assert names(path) == (["image"], ["map"], 18)
    assert bnc.verify(model, path, X).verdict == "agrees"


class Same(nn.Module):
    """Returns a tensor twice, and its own input."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = x * 2
        return y, y, x


@pytest.mark.slow
def test_one_tensor_may_be_several_outputs(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bnc.export(Same(), X, tmp_path / "m.onnx", output_names=["a", "b", "c"])
    assert names(tmp_path / "m.onnx")[1] == ["a", "b", "c"]


DIFFERENCE = """
<ir_version: 8, opset_import: ["" : 18]>
difference (float[N] x, float[N] y) => (float[N] z) { z = Sub(x, y) }
"""


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (["y", "x"], [], "'y' is what input 1 of the model is called"),
        (["a"], [], "1 names (a) for 2 tensors (x, y)"),
        ([], ["a", "b"], "2 names (a, b) for 1 tensors"),
        (["a", "b"], ["a"], "'a' is there twice"),
        ([], [""], "one is empty"),
    ],
)
def test_names_that_do_not_fit_are_refused(
    inputs: list[str], outputs: list[str], message: str
) -> None:
    model = onnx_ir.from_onnx_text(DIFFERENCE)
    with pytest.raises(bnc.ExportError) as failure:
        rename(model, OnnxForm.of(None, inputs, outputs), [])
    assert message in str(failure.value)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_opset_that_torch_cannot_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(bnc.ExportError, match="opset=99: torch"):
        bnc.export(Same(), X, tmp_path / "m.onnx", opset=99)
    assert not [*tmp_path.iterdir()]


class Clashing(nn.Module):
    """Two outputs whose keys would be one name."""

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"feat": [x + 1, x + 2], "feat_0": x + 3, "x": x + 4, "x_output": x + 5}


def test_keys_that_would_be_one_name_name_nothing(tmp_path: Path) -> None:
    assert bnc.export(Clashing().eval(), X, tmp_path / "m.onnx").verdict == "agrees"
    outputs = names(tmp_path / "m.onnx")[1]
    assert len({*outputs}) == 5
    assert outputs[1] == "feat_1"


class Echo(nn.Module):
    """Returns what it got beside what it computes, and takes what no file does."""

    def forward(
        self, x: Tensor, flip: bool, sizes: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return (x.flip(1) if flip else x) * 2, sizes


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("keyword", [False, True])
def test_an_input_that_is_an_output_keeps_its_name_and_axes_beside_flags_and_none(
    tmp_path: Path, keyword: bool
) -> None:
    x, sizes = torch.randn(2, 3, 5), torch.randn(2, 4)
    inputs: Any = (x, True, sizes, None)
    if keyword:
        inputs = {"x": x, "flip": True, "sizes": sizes, "mask": None}
    path = tmp_path / "m.onnx"
    bnc.export(Echo().eval(), inputs, path)
    assert names(path)[:2] == (["x", "sizes"], ["mul", "sizes_output"])
    assert axes(path) == [["batch", 3, 5], ["batch", 4]]
    shapes = {"x": {0: "rows", 2: "length"}, "flip": None, "sizes": {0: "rows"}, "mask": None}
    bnc.export(Echo().eval(), inputs, path, dynamic_shapes=shapes)
    assert axes(path) == [["rows", 3, "length"], ["rows", 4]]


class Views(nn.Module):
    """Takes any number of inputs."""

    def forward(self, *views: Tensor) -> Tensor:
        return sum(views[1:], views[0])


def test_the_axes_of_any_number_of_inputs_have_names(tmp_path: Path) -> None:
    bnc.export(Views().eval(), (torch.randn(2, 3), torch.randn(2, 3)), tmp_path / "m.onnx")
    assert axes(tmp_path / "m.onnx") == [["batch", 3], ["batch", 3]]


def axes(path: Path) -> list[list[Any]]:
    """Return the axes of a file's inputs: their names or sizes."""
    graph = onnx.load(str(path)).graph
    return [
        [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in graph.input
    ]


@pytest.mark.parametrize(
    ("opset", "inputs", "message"),
    [
        ("18", None, "opset='18': is no opset that ONNX Runtime runs; give a number from 7"),
        (6, None, "opset=6: is no opset"),
        (None, "image", "input_names: 'image' is one name; give a list: ['image']"),
    ],
)
def test_a_form_that_is_none_is_refused_before_anything_is_written(
    opset: Any, inputs: Any, message: str
) -> None:
    with pytest.raises(bnc.ExportError) as failure:
        OnnxForm.of(opset, inputs, None)
    assert message in str(failure.value)
