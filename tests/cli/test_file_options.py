from pathlib import Path

import onnx
import pytest

from tests.cli.conftest import Run


@pytest.mark.slow
def test_a_file_has_the_axes_names_and_opset_of_the_command(factory: str, run: Run) -> None:
    options = ["--dynamic", "batch,height,width", "--opset", "18", "--input-names", "image"]
    options += ["--output-names", "logits", "--input", "1,3,8,8", "-v"]
    done = run("export", f"{factory}:classifier", "-o", "m.onnx", *options)
    assert done.code == 0, done.err
    assert "height: compared at 1, 5, 8, 9, 32" in done.out
    model = onnx.load("m.onnx")
    (image,) = model.graph.input
    sizes = [axis.dim_param or axis.dim_value for axis in image.type.tensor_type.shape.dim]
    assert (image.name, sizes) == ("image", ["batch", 3, "height", "width"])
    assert [value.name for value in model.graph.output] == ["logits"]
    assert model.opset_import[0].version == 18


def test_a_wrong_axis_is_a_usage_error(factory: str, run: Run, tmp_path: Path) -> None:
    done = run("export", f"{factory}:classifier", "-o", "m.onnx", "--dynamic", "heigth")
    assert done.code == 2
    assert "'heigth' names no axis; write batch,height,width" in done.err
    assert not (tmp_path / "m.onnx").exists()
