"""Every number of a file that a tool may round otherwise is moved, and no size."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from bnconvert.verification.files.onnx_moved_weights import with_moved_weights
from bnconvert.verification.files.onnx_runner import OnnxRunner

X = torch.rand(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
STEP = 1e-3


def outputs(path: Path) -> torch.Tensor:
    file = OnnxRunner(path)
    result = file.run(file.feed([("x", X)]))
    assert not isinstance(result, str), result
    return result[0]


def files(body: str, tmp_path: Path) -> tuple[Path, Path]:
    """Write a file, and a copy of it with moved weights."""
    text = (
        f'<ir_version: 8, opset_import: ["" : 18]> f (float[1, 2, 6, 6] x) => (float[N] y) {body}'
    )
    path, copy = tmp_path / "m.onnx", tmp_path / "moved.onnx"
    onnx.save(onnx.parser.parse_model(text.replace("float[N] y", "float y")), str(path))
    with_moved_weights(path, copy, STEP, torch.Generator().manual_seed(0))
    return path, copy


@pytest.mark.parametrize(
    "body",
    [
        "<float[1] w = {3.0}> { y = Mul(x, w) }",
        "{ w = Constant <value = float[1] {3.0}> () y = Mul(x, w) }",
        "{ w = Constant <value_float = 3.0> () y = Mul(x, w) }",
        "{ w = Constant <value_floats = [3.0]> () y = Mul(x, w) }",
        "{ o = Shape <start = 0, end = 1> (x) z = Squeeze(o) c = Cast <to = 9> (z) y = If (c) "
        "<then_branch = t () => (float[1, 2, 6, 6] a) { v = Constant <value_float = 3.0> () "
        "a = Mul(x, v) }, else_branch = e () => (float[1, 2, 6, 6] b) { b = Identity(x) }> }",
    ],
)
def test_weights_are_moved_wherever_they_are(body: str, tmp_path: Path) -> None:
    path, copy = files(body, tmp_path)
    ratio = outputs(copy) / outputs(path)
    torch.testing.assert_close((ratio - 1).abs(), torch.full_like(ratio, STEP), rtol=1e-2, atol=0)


@pytest.mark.parametrize("from_node", [True, False])
def test_bfloat16_weights_are_moved_by_what_it_rounds(from_node: bool, tmp_path: Path) -> None:
    w = numpy_helper.from_array(np.array([3.0], np.float32), "w")
    w.data_type, w.raw_data = onnx.TensorProto.BFLOAT16, b"\x40\x40"
    node = "w = Constant <value = float[1] {3.0}> ()" if from_node else ""
    body = f"{{ {node} v = Cast <to = 1> (w) y = Mul(x, v) }}"
    path, copy = tmp_path / "m.onnx", tmp_path / "moved.onnx"
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 18]> f (float[1, 2, 6, 6] x) => (float y) {body}'
    )
    if from_node:
        model.graph.node[0].attribute[0].t.CopyFrom(w)
    else:
        model.graph.initializer.append(w)
    onnx.save(model, str(path))
    with_moved_weights(path, copy, STEP, torch.Generator().manual_seed(0))
    ratio = float((outputs(copy) / outputs(path)).mean())
    assert abs(ratio - 1) == pytest.approx(2**-7, rel=0.4)


@pytest.mark.parametrize(
    "scales", ["s = Constant <value = float[4] {1.0, 1.0, 2.0, 2.0}> ()", "s = Identity(w)"]
)
def test_sizes_stay(scales: str, tmp_path: Path) -> None:
    """Resize rounds them down: a scale of nearly two makes one pixel less."""
    body = f"<float[4] w = {{1.0, 1.0, 2.0, 2.0}}> {{ {scales} y = Resize(x, , s) }}"
    if "Identity" in scales:
        body = body.replace("s = Identity(w) ", "").replace(", , s)", ", , w)")
    path, copy = files(body, tmp_path)
    torch.testing.assert_close(outputs(copy), outputs(path), rtol=0, atol=0)


SIZED = (
    "<float two = {2.0}, int64[2] first = {1, 2}> { s = Shape <start = 2, end = 4> (x) "
    "f = Cast <to = 1> (s) g = Mul(f, two) h = Floor(g) i = Cast <to = 7> (h) "
    "o = Concat <axis = 0> (first, i) y = Resize(x, , , o) }"
)
SQUARE = "{ n = Neg(x) two = Constant <value = float {2.0}> () y = Pow(n, two) }"


@pytest.mark.parametrize("body", [SIZED, SQUARE])
def test_what_sizes_are_computed_with_stays_and_so_do_exponents(body: str, tmp_path: Path) -> None:
    """A negative number has no power of nearly two: the copy would say nothing but NaN."""
    path, copy = files(body, tmp_path)
    torch.testing.assert_close(outputs(copy), outputs(path), rtol=0, atol=0)
