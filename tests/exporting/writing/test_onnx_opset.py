"""A file in an older opset is the captured graph's own, as long as ONNX's converter knows a way."""

from pathlib import Path

import onnx
import onnx_ir
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.exporting.writing import onnx_file, onnx_half
from bnconvert.exporting.writing.onnx_opset import lower_form
from tests.zoo import trained

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network(last: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return trained(nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 6), last))


@pytest.mark.parametrize(("opset", "ir", "dtype"), [(17, 8, None), (14, 7, torch.float16)])
def test_it_has_the_same_operators_any_batch_and_an_old_form(
    opset: int, ir: int, dtype: torch.dtype | None, tmp_path: Path
) -> None:
    kinds = {}
    for asked in (18, opset):
        path = tmp_path / f"{asked}.onnx"
        report = bnc.export(network(nn.Hardswish()), (X,), path, opset=asked, dtype=dtype)
        model = onnx.load(str(path))
        assert [finding.id for finding in report.findings] == []
        assert model.opset_import[0].version == asked
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
        kinds[asked] = [node.op_type for node in model.graph.node]
    assert model.ir_version == ir
    assert kinds[opset] == kinds[18]
    assert bnc.verify(tmp_path / "18.onnx", path, (X,)).verdict == "agrees"


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
def test_padding_is_written_in_an_older_opset(mode: str, opset: int, tmp_path: Path) -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            x = nn.functional.pad(x, (1, 2, 0, 1), mode).relu() * 2
            return self.norm(self.conv(x)) + 1  # type: ignore[no-any-return]

    report = bnc.export(trained(Padded()), (X,), tmp_path / "m.onnx", opset=opset)
    assert (report.verdict, report.findings) == ("agrees", ())
    model = onnx.load(str(tmp_path / "m.onnx"))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    assert {node.domain for node in model.graph.node} == {""}


class Attention(nn.Module):
    """torch.onnx takes it down to 17 itself."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.keys = nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.keys(self.norm(x))
        return nn.functional.scaled_dot_product_attention(y, y, y)


class Reduced(nn.Module):
    """Reductions of everything, which have an attribute from opset 18 on that 17 does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.norm(self.conv(x))
        return y - y.mean(), y.sum(), y.max(), y.amin(), y.amax(), y / y.norm()


@pytest.mark.parametrize("opset", [17, 18])
def test_reductions_of_everything_are_written_before_they_had_it(
    opset: int, tmp_path: Path
) -> None:
    report = bnc.export(trained(Reduced()), (X,), tmp_path / "m.onnx", opset=opset)
    assert report.verdict == "agrees"
    assert "BN412" not in {finding.id for finding in report.findings}, "it is not traced"


@pytest.mark.parametrize(("opset", "ir"), [(17, 8), (18, 8), (20, 9), (21, 10)])
def test_a_file_has_the_form_that_came_with_its_opset(opset: int, ir: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    report = bnc.export(Attention().eval(), (X,), tmp_path / "m.onnx", opset=opset)
    assert [finding.id for finding in report.findings] == []
    model = onnx.load(tmp_path / "m.onnx")
    assert (model.opset_import[0].version, model.ir_version) == (opset, ir)


def test_types_that_came_later_keep_the_form() -> None:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in ("x", "y")]
    nodes = [
        helper.make_node("Cast", ["x"], ["small"], to=TensorProto.FLOAT8E4M3FN),
        helper.make_node("Cast", ["small"], ["y"], to=TensorProto.FLOAT),
    ]
    small = [helper.make_tensor_value_info("small", TensorProto.FLOAT8E4M3FN, [2])]
    graph = helper.make_graph(nodes, "graph", values[:1], values[1:], value_info=small)
    opset = [helper.make_opsetid("", 18)]
    model = onnx_ir.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=10))
    lower_form(model)
    assert model.ir_version == 10


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_weights_beside_the_file_stay_there(
    dtype: torch.dtype | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "SINGLE_FILE_LIMIT", 0)
    monkeypatch.setattr(onnx_half, "SINGLE_FILE_LIMIT", 0)
    path = tmp_path / "m.onnx"
    model = network(nn.Linear(6, 512))
    report = bnc.export(model, (X,), path, opset=17, dtype=dtype)
    assert report.verdict == "agrees"
    assert [finding.id for finding in report.findings] == []
    (beside,) = (file for file in tmp_path.iterdir() if file != path)
    written = onnx.load(str(path), load_external_data=False)
    assert written.opset_import[0].version == 17
    places = {entry.value for t in written.graph.initializer for entry in t.external_data[:1]}
    assert places == {beside.name}
    assert sum(len(tensor.raw_data) for tensor in written.graph.initializer) < beside.stat().st_size


@pytest.mark.slow
def test_what_has_no_older_version_is_traced_in_that_opset(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    report = bnc.export(network(nn.LayerNorm(6)), (X,), path, opset=16)
    assert report.verdict == "agrees"
    (finding,) = report.findings
    assert finding.id == "BN412"
    assert "No Previous Version of LayerNormalization exists" in finding.message
    assert onnx.load(str(path)).opset_import[0].version == 16
