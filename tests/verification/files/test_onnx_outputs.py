from pathlib import Path

import onnx

from bnconvert.verification.files.onnx_outputs import bounded_outputs, outputs_of_inputs


def test_what_the_graph_says_of_its_outputs(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> '
        "f (float[2, 3] x) => (float[6] bounded, float[2, 3] free, int64[2] sizes) "
        "<int64[1] flat = {-1}> "
        "{ s = Sigmoid(x) t = Transpose(s) bounded = Reshape(t, flat) free = Neg(s) "
        "sizes = Shape(x) }"
    )
    onnx.save(model, str(tmp_path / "m.onnx"))
    assert bounded_outputs(tmp_path / "m.onnx") == {0}
    assert outputs_of_inputs(tmp_path / "m.onnx") == {0, 1}
