"""Rows for files in ONNX Runtime, and for the inputs that they and their models get."""

from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.verification.files.onnx_graph import graph_of
from bnconvert.verification.files.onnx_runner import OnnxRunner
from tests.remedies.row import Row

X = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


class Double(nn.Module):
    """Takes rows of three numbers, as its file does."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 3, "rows of three"
        return x * 2


def adding(folder: Path, ir_version: int = 10, names: str = "ab") -> Path:
    """Write a file that adds two inputs, or one to itself."""
    x = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", 3]) for n in names]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 3])
    node = helper.make_node("Add", [names[0], names[-1]], ["y"])
    graph = helper.make_graph([node], "g", x, [y])
    opset = helper.make_opsetid("", 17)
    path = folder / "m.onnx"
    onnx.save(helper.make_model(graph, ir_version=ir_version, opset_imports=[opset]), str(path))
    return path


def adding_many(folder: Path) -> Path:
    """Write a file with many operators, all of which fail where its inputs differ in size."""
    x = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [f"size_{n}"]) for n in "ab"]
    y = [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, None) for i in range(9)]
    nodes = [helper.make_node("Add", ["a", "b"], [value.name]) for value in y]
    graph, opset = helper.make_graph(nodes, "g", x, y), helper.make_opsetid("", 17)
    path = folder / "m.onnx"
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[opset]), str(path))
    return path


def values(folder: Path, b: Tensor) -> None:
    """Compute all values of a file."""
    graph_of(adding_many(folder), [("a", X[0]), ("b", b)], folder)


def run(path: Path, *tensors: tuple[str | None, Tensor]) -> None:
    runner = OnnxRunner(path)
    runner.run(runner.feed(tensors))


def lowered(path: Path) -> Path:
    model = onnx.load(str(path))
    model.ir_version = 10
    onnx.save(model, str(path))
    return path


def broken(folder: Path) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(b"no model")
    return path


RUNTIME = (
    Row(
        "verification/files/onnx_runner.py",
        "give one tensor for each",
        lambda folder: run(adding(folder), (None, X)),
        lambda folder: run(adding(folder), (None, X), (None, X)),
    ),
    Row(
        "verification/files/onnx_runner.py",
        "by their names",
        lambda folder: run(adding(folder), (None, X.long()), (None, X)),
        lambda folder: run(adding(folder), ("b", X), ("a", X)),
    ),
    Row(
        "verification/files/input_shapes.py",
        "and {} was given",
        lambda folder: run(adding(folder), (None, X[:, :2]), (None, X[:, :2])),
        lambda folder: run(adding(folder), (None, X), (None, X)),
    ),
    Row(
        "verification/files/onnx_loading.py",
        "cannot load it ({})",
        lambda folder: run(adding(folder, ir_version=99), (None, X), (None, X)),
        lambda folder: run(lowered(adding(folder, ir_version=99)), (None, X), (None, X)),
    ),
    Row(
        "verification/files/onnx_loading.py",
        "cannot load it ({})",
        lambda folder: run(broken(folder), (None, X), (None, X)),
        lambda folder: run(adding(folder), (None, X), (None, X)),
    ),
    Row(
        "verification/files/onnx_graph.py",
        "give inputs that it was exported for",
        lambda folder: values(folder, X[0, :2]),
        lambda folder: values(folder, X[1]),
    ),
    Row(
        "verification/references/reference.py",
        "give inputs that its forward accepts",
        lambda folder: bnc.verify(Double(), adding(folder, names="x"), (torch.ones(2, 4),)),
        lambda folder: bnc.verify(Double(), adding(folder, names="x"), (X,)),
    ),
)
