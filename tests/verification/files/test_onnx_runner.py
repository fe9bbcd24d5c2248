from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import bnconvert as bnc
from bnconvert.verification.files.onnx_runner import OnnxRunner
from tests.zoo import build


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runner") / "two.onnx"
    bnc.export(*build("two_inputs"), path)
    return path


def test_inputs_are_fed_by_name_or_in_order(exported: Path) -> None:
    model, (image, vector) = build("two_inputs")
    runner = OnnxRunner(exported)
    assert runner.input_names == ["image", "vector"]
    expected = model(image, vector)
    for named in (
        [(None, image), (None, vector)],
        [("vector", vector), ("image", image)],
        [("image", image), ("renamed", vector)],
    ):
        outputs = runner.run(runner.feed(named))
        assert not isinstance(outputs, str)
        for output, name in zip(outputs, ("map", "code"), strict=True):
            torch.testing.assert_close(output, expected[name], rtol=1e-4, atol=1e-5)
        assert runner.feed(named).notes == ()


def test_too_few_inputs_and_wrong_shapes_are_refused_in_words(exported: Path) -> None:
    _, (first, second) = build("two_inputs")
    runner = OnnxRunner(exported)
    with pytest.raises(bnc.ExportError, match="and 1 tensors were given; give one tensor for each"):
        runner.feed([(None, first)])
    with pytest.raises(bnc.ExportError, match="give inputs of the shapes that it was exported for"):
        runner.run(runner.feed([(None, first[:, :1]), (None, second)]))
    with pytest.raises(bnc.ExportError, match="in the order of the file's inputs"):
        runner.feed([(None, first.long()), (None, second)])


def test_another_float_is_cast_with_a_note(exported: Path) -> None:
    _, (first, second) = build("two_inputs")
    runner = OnnxRunner(exported)
    feed = runner.feed([(None, first.double()), (None, second)])
    runner.run(feed)
    assert feed.casts
    assert "was cast to it" in feed.notes[0]


def scaling(path: Path) -> Path:
    """Write a file that doubles a batch of two."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        "g",
        value[:1],
        value[1:],
        [numpy_helper.from_array(np.array([2.0], dtype=np.float32), "two")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return path


def test_the_fixed_size_of_the_first_axis(tmp_path: Path, exported: Path) -> None:
    assert OnnxRunner(scaling(tmp_path / "two.onnx")).first_axis("x") == 2
    runner = OnnxRunner(exported)
    assert runner.first_axis(runner.input_names[0]) is None


def test_an_output_that_is_no_tensor_has_no_size(tmp_path: Path) -> None:
    model = onnx.load(scaling(tmp_path / "two.onnx"))
    model.graph.node.append(helper.make_node("SplitToSequence", ["y"], ["parts"], axis=0))
    info = helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None)
    model.graph.output.append(info)
    onnx.save(model, tmp_path / "parts.onnx")
    runner = OnnxRunner(tmp_path / "parts.onnx")
    assert runner.output_names == ["y", "parts"]
    assert runner.output_sizes == {"y": 6}


def test_an_input_that_numpy_has_no_numbers_for_is_refused(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 18]>
    cast (bfloat16[N, 3] x) => (float[N, 3] y) { y = Cast<to = 1>(x) }"""
    onnx.save(onnx.parser.parse_model(text), str(tmp_path / "m.onnx"))
    file = OnnxRunner(tmp_path / "m.onnx")
    with pytest.raises(bnc.ExportError, match="its input x is bfloat16, which NumPy has no arrays"):
        file.feed([("x", torch.ones(2, 3))])
