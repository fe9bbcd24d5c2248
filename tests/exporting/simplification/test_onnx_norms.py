"""The addition that is left of a norm is a batch norm in the file, with the same numbers."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from bnconvert.errors import ExportError
from bnconvert.exporting.simplification.onnx_norms import summands_of, write_as_norms
from bnconvert.exporting.writing.onnx_file import PLAIN, write_folded
from bnconvert.folding.folding import Folded, fold
from bnconvert.verification.files.onnx_runner import OnnxRunner
from tests.zoo import trained

IMAGE = torch.randn(2, 6, 7, 5, generator=torch.Generator().manual_seed(0))
CLIPS = torch.randn(2, 6, 5, 4, 3, generator=torch.Generator().manual_seed(0))


class BeforePadding(nn.Module):
    """A norm whose multiplication goes into the convolution, and the addition cannot."""

    def __init__(self, axes: int = 2, *, twice: bool = False) -> None:
        super().__init__()
        conv, norm = ((nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))[axes - 2]
        self.norm: nn.Module = norm(6)
        self.conv: nn.Module = conv(6, 4, 3, padding=1)
        self.table = nn.Parameter(torch.randn(6, 1, 1))
        self.twice = twice

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.norm(x.sigmoid()))
        return y + self.conv(self.norm(x.cos())) if self.twice else y


class Arithmetic(BeforePadding):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x.sigmoid() + self.table)
        return y


def made(model: nn.Module, x: Tensor, path: Path) -> tuple[Folded, onnx.GraphProto]:
    folded = fold(model.eval(), (x,))
    write_folded(folded, path, PLAIN, any_batch=True)
    return folded, onnx.load(path).graph


def kinds(graph: onnx.GraphProto) -> list[str]:
    return [node.op_type for node in graph.node]


def test_it_is_a_batch_norm_and_the_folded_graph_keeps_the_addition(tmp_path: Path) -> None:
    folded, graph = made(trained(BeforePadding()), IMAGE, tmp_path / "m.onnx")
    assert kinds(graph) == ["Sigmoid", "BatchNormalization", "Conv"]
    assert isinstance(folded.module, torch.fx.GraphModule)
    assert "add" in [node.name.partition("_")[0] for node in folded.module.graph.nodes]
    (row,) = folded.report.norms
    assert row.reason.startswith("its multiplication is folded")


def test_it_computes_the_same_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained(BeforePadding())
    made(model, IMAGE, tmp_path / "norm.onnx")
    monkeypatch.setattr("bnconvert.exporting.writing.onnx_file.summands_of", lambda folded: ())
    _, graph = made(model, IMAGE, tmp_path / "sum.onnx")
    assert "Add" in kinds(graph)
    runners = [OnnxRunner(tmp_path / f"{name}.onnx", unoptimized=True) for name in ("norm", "sum")]
    one, other = (runner.run(runner.feed([(None, IMAGE)])) for runner in runners)
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_its_vectors_are_in_the_dtype_of_the_image(dtype: torch.dtype, tmp_path: Path) -> None:
    model = trained(BeforePadding()).to(dtype)
    _, graph = made(model, IMAGE.to(dtype), tmp_path / "m.onnx")
    assert "BatchNormalization" in kinds(graph)
    assert len({tensor.data_type for tensor in graph.initializer}) == 1


def test_a_model_in_bfloat16_is_refused_with_the_reason_of_all_such(tmp_path: Path) -> None:
    model = trained(BeforePadding()).bfloat16()
    with pytest.raises(ExportError, match="computes nothing in bfloat16"):
        made(model, IMAGE.bfloat16(), tmp_path / "m.onnx")


def test_each_call_of_a_norm_has_its_own(tmp_path: Path) -> None:
    _, graph = made(trained(BeforePadding(twice=True)), IMAGE, tmp_path / "m.onnx")
    assert kinds(graph).count("BatchNormalization") == 2
    held = {tensor.name for tensor in graph.initializer}
    assert held == {name for node in graph.node for name in node.input if name in held}


@pytest.mark.parametrize(
    ("kind", "x"), [(partial(BeforePadding, 3), CLIPS), (Arithmetic, IMAGE)], ids=["video", "sum"]
)
def test_other_additions_stay(kind: Callable[[], nn.Module], x: Tensor, tmp_path: Path) -> None:
    _, graph = made(trained(kind()), x, tmp_path / "m.onnx")
    assert "Add" in kinds(graph)
    assert "BatchNormalization" not in kinds(graph)


@pytest.mark.parametrize("shape", [(1,), (1, 1, 1, 5), (2, 6, 1, 1), (6, 7, 1)])
def test_what_does_not_vary_by_channel_alone_stays(shape: tuple[int, ...]) -> None:
    x, y = (onnx.helper.make_tensor_value_info(name, 1, IMAGE.shape) for name in "xy")
    node = onnx.helper.make_node("Add", ["norm.shift", "x"], ["y"])
    summand = numpy_helper.from_array(np.ones(shape, "float32"), "norm.shift")
    graph = onnx.helper.make_graph([node], "graph", [x], [y], [summand])
    model = onnx_ir.from_proto(onnx.helper.make_model(graph))
    write_as_norms(model, ["norm.shift", "absent"])
    assert [node.op_type for node in model.graph] == ["Add"]
    assert list(model.graph.initializers) == ["norm.shift"]


def test_a_norm_that_is_folded_leaves_no_summand() -> None:
    model = trained(nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6))).eval()
    assert summands_of(fold(model, (IMAGE,))) == []
