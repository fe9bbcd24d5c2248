from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.exporting.writing.onnx_half import halve
from tests.zoo import IMAGE, Net, trained


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_file_in_half_precision_is_proven_by_its_own_precision(tmp_path: Path) -> None:
    model = trained(Net())
    report = bnc.export(model, IMAGE, tmp_path / "half.onnx", dtype=torch.float16)
    graph = onnx.load(str(tmp_path / "half.onnx")).graph
    kinds = {v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert {t.data_type for t in graph.initializer if len(t.dims) > 1} == kinds
    worst = max(check.error for check in report.checks if check.measure == "norm")
    assert 1e-5 < worst < 2e-3  # half precision has eleven bits
    assert bnc.verify(model, tmp_path / "half.onnx", IMAGE).verdict == "agrees"


def test_a_number_too_large_for_half_precision_is_refused(tmp_path: Path) -> None:
    conv = nn.Conv2d(3, 2, 1).eval()
    with torch.no_grad():
        conv.weight[0, 0] = 1e5
    bnc.export(conv, IMAGE, tmp_path / "m.onnx")
    with pytest.raises(bnc.ExportError, match=r"weight: has the number 1e[+]05, and float16 ends"):
        halve(tmp_path / "m.onnx")
    with pytest.raises(bnc.ExportError, match="can be rewritten in"):
        bnc.export(conv, IMAGE, tmp_path / "m.onnx", dtype=torch.int8)


@pytest.mark.filterwarnings("ignore")
def test_factors_that_stay_in_float32_are_not_cast_also_where_a_file_says_their_shape(
    tmp_path: Path,
) -> None:
    """As in Segformer: ONNX Runtime's tool cast them after their use, and to what they were not."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> f (float[N, 3, 4, 4] x) => (float[N, 3, 8, 8] z) '
        "<float[4] factors = {1.0, 1.0, 2.0, 2.0}, float[N, 3, 4, 4] y> "
        "{ y = Relu(x) z = Resize(y, , factors) }"
    )
    shape = onnx.helper.make_tensor_value_info("factors", onnx.TensorProto.FLOAT, [4])
    model.graph.value_info.append(shape)
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    halve(path)
    onnx.checker.check_model(str(path), full_check=True)
    halved = onnx.load(str(path)).graph
    assert halved.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    assert [n.op_type for n in halved.node if n.input[0] == "factors"] == []
    assert [t.data_type for t in halved.initializer] == [onnx.TensorProto.FLOAT]


@pytest.mark.filterwarnings("ignore")
def test_what_is_as_large_as_float32_can_be_is_as_large_as_float16_can(tmp_path: Path) -> None:
    """As a mask's numbers, or a clamp's without a bound."""
    most = float(torch.finfo(torch.float32).max)
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> f (float[N] x) => (float[N] y) '
        "<float large = {1.0}> { y = Add(x, large) }"
    )
    model.graph.initializer[0].float_data[0] = most
    onnx.save(model, str(tmp_path / "m.onnx"))
    halve(tmp_path / "m.onnx")
    (large,) = onnx.load(str(tmp_path / "m.onnx")).graph.initializer
    assert float(onnx.numpy_helper.to_array(large)) == torch.finfo(torch.float16).max
