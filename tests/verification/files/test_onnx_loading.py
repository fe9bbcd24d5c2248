"""What cannot be loaded says what to do next."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import bnconvert as bnc
from bnconvert.verification.files.onnx_runner import OnnxRunner


def scaling(path: Path, *, opset: int = 20, ir: int = 10, operator: str = "Mul") -> Path:
    """Write a file that doubles a batch of two."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "two"], ["y"])],
        "g",
        value[:1],
        value[1:],
        [numpy_helper.from_array(np.array([2.0, 2.0, 2.0], dtype=np.float32), "two")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"ir": 99}, "upgrade onnxruntime, or lower ir_version"),
        ({"opset": 99}, "onnx.version_converter"),
        ({"operator": "Nothing"}, "the operator is custom|export with a newer opset"),
    ],
)
def test_what_cannot_be_loaded_tells_the_next_step(
    tmp_path: Path, change: dict[str, object], step: str
) -> None:
    path = scaling(tmp_path / "new.onnx", **change)  # type: ignore[arg-type]
    with pytest.raises(bnc.ExportError, match=step):
        OnnxRunner(path)


@pytest.mark.parametrize(("content", "step"), [("hello", "damaged one"), ("", "it is empty")])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: str, step: str) -> None:
    (tmp_path / "x.onnx").write_text(content)
    with pytest.raises(bnc.ExportError, match=rf"x\.onnx: ONNX Runtime cannot load it.*{step}"):
        OnnxRunner(tmp_path / "x.onnx")


def test_weights_beside_a_file_that_are_missing_or_cut_off_are_told_apart(tmp_path: Path) -> None:
    path, weights = tmp_path / "x.onnx", tmp_path / "x.data"
    model = onnx.load(scaling(path))
    onnx.save(model, path, save_as_external_data=True, location=weights.name, size_threshold=0)
    whole = weights.read_bytes()
    OnnxRunner(path)
    for content, step in ((whole[:4], "is cut off: copy it again"), (None, "into the same folder")):
        weights.unlink()
        if content is not None:
            weights.write_bytes(content)
        with pytest.raises(bnc.ExportError, match=step):
            OnnxRunner(path)
