from pathlib import Path

import onnx
import pytest

import bnconvert as bnc
from bnconvert.exporting.writing.onnx_contents import OnnxContents
from tests.onnx_metadata import metadata_of
from tests.zoo import build


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    bnc.export(*build("plain"), path)
    return path


def test_labels_are_written_and_read(exported: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(exported.read_bytes())
    OnnxContents.of(copy).label({"mine": "yes"})
    assert metadata_of(copy) == {"mine": "yes"}
    onnx.checker.check_model(str(copy), full_check=True)


def test_operators_are_counted_in_subgraphs_too(tmp_path: Path) -> None:
    def relu(name: str) -> onnx.GraphProto:
        node = onnx.helper.make_node("Relu", ["x"], [name])
        out = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1])
        return onnx.helper.make_graph([node], name, [], [out])

    branch = onnx.helper.make_node("If", ["c"], ["y"], then_branch=relu("a"), else_branch=relu("b"))
    inputs = [
        onnx.helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []),
        onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1]),
    ]
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([branch], "g", inputs, [output])),
        tmp_path / "if.onnx",
    )
    assert OnnxContents.of(tmp_path / "if.onnx").count("Relu") == 2


def test_the_digest_is_that_of_numbers_wherever_they_lie(exported: Path, tmp_path: Path) -> None:
    file, path = onnx.load(exported), tmp_path / "m.onnx"
    digests = []
    for location, amount in (("a.data", 0.0), ("b.data", 0.0), ("c.data", 1e-3)):
        weight = max(file.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = onnx.numpy_helper.to_array(weight) + amount
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype("float32"), weight.name))
        copied = onnx.ModelProto.FromString(file.SerializeToString())
        onnx.save(copied, path, save_as_external_data=True, location=location, size_threshold=0)
        read = OnnxContents.of(path)
        digests.append(read.digest())
        assert read.size > sum(len(t.raw_data) for t in file.graph.initializer)
        read.label({"mine": "yes"})
        again = OnnxContents.of(path)
        assert again.properties == {"mine": "yes"}
        assert again.digest() == digests[-1]
        onnx.checker.check_model(str(path), full_check=True)
    assert digests[0] == digests[1] != digests[2]
