from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper, parser

from bnconvert.cli.reference_file import file_inputs
from bnconvert.errors import LoadError
from tests.cli.conftest import Run

FILE = """
<ir_version: 8, opset_import: ["" : 18]>
scaled (float[N, 3] x, float[2] scale) => (float[N, 2] z)
<float[3, 2] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}>
{ y = MatMul(x, w) z = Mul(y, scale) }
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand beside a file, the same once more, and one with another weight."""
    monkeypatch.chdir(tmp_path)
    model = parser.parse_model(FILE)
    for name in ("a.onnx", "b.onnx"):
        onnx.save(model, name)
    (weight,) = model.graph.initializer
    values = numpy_helper.to_array(weight).copy()
    values[0, 0] = 1.01
    weight.CopyFrom(numpy_helper.from_array(values, "w"))
    onnx.save(model, "wrong.onnx")
    return tmp_path


def test_two_files_are_compared_without_a_model(files: Path, run: Run) -> None:
    assert run("verify", "a.onnx", "b.onnx").out.startswith("OK  b.onnx agrees with a.onnx")
    wrong = run("verify", "a.onnx", "wrong.onnx")
    assert wrong.code == 3
    assert "the MatMul that computes y is the first operator that diverges" in wrong.err
    assert "bnconvert verify a.onnx wrong.onnx --input wrong.failed.zip" in wrong.err
    assert run("verify", "a.onnx", "wrong.onnx", "--input", "wrong.failed.zip").code == 3
    assert run("verify", "a.onnx", "wrong.onnx", "--tolerance", "0.05").code == 0
    assert run("verify", "a.onnx", "wrong.onnx", "--agreement", "0.9").code == 3
    assert run("verify", "a.onnx", "b.onnx", "--weights", "w.safetensors").code == 2
    assert run("verify", "none.onnx", "b.onnx").code == 4


def test_inputs_have_the_shapes_of_the_file_or_of_the_option(files: Path) -> None:
    inputs = file_inputs(Path("a.onnx"), None)
    assert {name: tuple(x.shape) for name, x in dict(inputs).items()} == {  # type: ignore[arg-type]
        "x": (4, 3),
        "scale": (2,),
    }
    with pytest.raises(LoadError, match="takes x, scale, and 3 inputs were given"):
        file_inputs(Path("a.onnx"), ["4,3", "2", "4,3"])
    named = dict(file_inputs(Path("a.onnx"), ["scale:2", "x:5,3"]))  # type: ignore[arg-type]
    assert tuple(named["x"].shape) == (5, 3)
    model = onnx.load("a.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "M"
    onnx.save(model, "free.onnx")
    with pytest.raises(LoadError, match=r"its input x may have any size \(N, M\); give one"):
        file_inputs(Path("free.onnx"), None)
