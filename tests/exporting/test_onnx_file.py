import sysconfig
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.exporting import onnx_file
from bnconvert.verification.onnx_runner import OnnxRunner
from tests.onnx_metadata import metadata_of
from tests.zoo import IMAGE, build

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    model, (image, vector) = build("two_inputs")
    bnc.export(model, {"vector": vector, "image": image}, path)
    return path


def test_no_path_of_this_machine_is_in_the_file(exported: Path) -> None:
    """torch's exporter writes the stack trace of every node, with absolute paths, into it."""
    content = exported.read_bytes()
    for path in (str(ROOT), sysconfig.get_paths()["purelib"], str(Path.home()), "stack_trace"):
        assert path.encode() not in content


def test_the_batch_axis_has_its_name(exported: Path) -> None:
    graph = onnx.load(exported).graph
    shapes = {
        i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim]
        for i in graph.input
    }
    assert shapes == {"vector": ["batch", 5], "image": ["batch", 3, 8, 8]}
    assert OnnxRunner(exported).first_axis("image") is None


def test_labels_are_written_and_read(exported: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(exported.read_bytes())
    onnx_file.label(copy, {"mine": "yes"})
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
    assert onnx_file.count_operators(tmp_path / "if.onnx", "Relu") == 2


def test_weights_beyond_two_gigabytes_lie_beside_the_file_and_move_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "_SINGLE_FILE_LIMIT", 0)
    model, inputs = build("without_statistics")  # fails, and so is renamed
    with pytest.raises(bnc.VerificationError):
        bnc.export(model, inputs, tmp_path / "model.onnx")
    assert {p.name for p in tmp_path.iterdir()} == {"model.failed.onnx", "model.failed.onnx.data"}
    runner = OnnxRunner(tmp_path / "model.failed.onnx")
    outputs = runner.run(runner.feed([(None, inputs[0])]))
    torch.testing.assert_close(outputs, [model(*inputs)], rtol=1e-4, atol=1e-5)


def test_a_dtype_without_kernels_is_refused_with_a_way_out(tmp_path: Path) -> None:
    model, inputs = build("bfloat16")
    with pytest.raises(bnc.ExportError, match=r"export model\.float\(\)"):
        bnc.export(model, inputs, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_operator_that_onnx_lacks_is_refused(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = torch.linalg.eigvals(x @ x.mT).abs()
            return result

    with pytest.raises(bnc.ExportError, match="no ONNX file can be made"):
        bnc.export(Odd().eval(), IMAGE, tmp_path / "odd.onnx")
    assert list(tmp_path.iterdir()) == []
