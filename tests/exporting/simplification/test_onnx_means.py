"""Means over small images are pooling in a file; all other means stay."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.exporting.simplification.onnx_means import write_means_as_pooling
from tests.zoo import trained

IMAGE = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(0))


class Excited(nn.Module):
    """Squeeze and excitation (Hu et al., 2018), and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU())
        self.gate = nn.Sequential(nn.Conv2d(16, 16, 1), nn.Sigmoid())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y: Tensor = self.head(x * self.gate(x.mean((2, 3), keepdim=True)))
        return y


def kinds(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("opset", [None, 17])
def test_gates_and_heads_pool_and_the_file_is_proven(opset: int | None, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    assert bnc.export(trained(Excited()), (IMAGE,), path, opset=opset).verdict == "agrees"
    assert kinds(path)["GlobalAveragePool"] == 2
    assert not kinds(path)["ReduceMean"]
    read = {name for node in onnx.load(path).graph.node for name in node.input}
    assert {tensor.name for tensor in onnx.load(path).graph.initializer} <= read


def test_a_file_in_half_precision_is_proven(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    report = bnc.export(trained(Excited()), (IMAGE,), path, dtype=torch.float16)
    assert report.verdict == "agrees"
    assert kinds(path)["GlobalAveragePool"] == 2


def test_images_of_any_size_keep_their_means_because_they_may_be_large(tmp_path: Path) -> None:
    path, axes = tmp_path / "m.onnx", {"x": {0: "batch", 2: "height", 3: "width"}}
    bnc.export(trained(Excited()), (IMAGE,), path, dynamic_shapes=axes)
    assert kinds(path)["ReduceMean"] == 2


def test_a_model_in_float64_keeps_its_means_which_onnx_runtime_can_run(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)).eval()
    assert bnc.export(model.double(), (IMAGE.double(),), path).verdict == "agrees"
    assert kinds(path)["ReduceMean"] == 1


def rewritten(
    shape: tuple[int | str, ...] = (2, 3, 9, 8),
    axes: tuple[int, ...] | None = (2, 3),
    keepdims: int = 1,
    dtype: int = onnx.TensorProto.FLOAT,
) -> str:
    """Return what operator computes a mean after the rewrite."""
    x = helper.make_tensor_value_info("x", dtype, shape)
    y = helper.make_tensor_value_info("y", dtype, None)
    held = [] if axes is None else [numpy_helper.from_array(np.array(axes), "axes")]
    names = ["x", *(tensor.name for tensor in held)]
    node = helper.make_node("ReduceMean", names, ["y"], keepdims=keepdims)
    graph = helper.make_graph([node], "graph", [x], [y], held)
    model = onnx_ir.from_proto(helper.make_model(graph))
    write_means_as_pooling(model)
    (only,) = model.graph
    assert len(model.graph.initializers) == len(only.inputs) - 1
    return str(only.op_type)


@pytest.mark.parametrize("axes", [(2, 3), (3, 2), (-1, -2), (-2, 3)])
def test_both_axes_of_an_image_are_meant_in_any_order(axes: tuple[int, ...]) -> None:
    assert rewritten(axes=axes) == "GlobalAveragePool"


@pytest.mark.parametrize(
    "change",
    [
        {"axes": (3,)},
        {"axes": (1, 2)},
        {"axes": None},
        {"axes": (1, 2, 3)},
        {"keepdims": 0},
        {"shape": (2, 3, 9)},
        {"shape": (2, 3, "height", 8)},
        {"shape": (2, 3, 65, 64)},
        {"dtype": onnx.TensorProto.DOUBLE},
        {"dtype": onnx.TensorProto.INT32},
    ],
    ids=str,
)
def test_all_other_means_stay(change: dict[str, int | tuple[int, ...]]) -> None:
    if change == {"shape": (2, 3, 9)}:
        change = change | {"axes": (1, 2)}
    assert rewritten(**change) == "ReduceMean"  # type: ignore[arg-type]
