"""Parts of a tensor are one operator in any opset since 13."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.zoo import trained

X = torch.randn(2, 6, 5, 5, generator=torch.Generator().manual_seed(0))
Parts = Callable[[Tensor], list[Tensor]]


class Divided(nn.Module):
    """Divides a layer's channels into parts."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.conv, self.norm, self.parts = nn.Conv2d(6, 7, 1), nn.BatchNorm2d(7), parts

    def forward(self, x: Tensor) -> list[Tensor]:
        first, *rest = self.parts(self.norm(self.conv(x)))
        return [first, *(part.relu() for part in rest)]


PARTS: dict[str, Parts] = {
    "of equal size": lambda y: [*torch.cat([y, y[:, :2]], 1).chunk(3, 1)],
    "the last one smaller": lambda y: [*y.chunk(3, 1)],
    "of given sizes": lambda y: [*y.split([1, 4, 2], 1)],
    "along the last axis": lambda y: [*y.chunk(2, -1)],
}


def kinds(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("name", PARTS)
def test_parts_are_written_in_an_older_opset(name: str, tmp_path: Path) -> None:
    model = trained(Divided(PARTS[name]))
    report = bnc.export(model, (X,), tmp_path / "m.onnx", opset=17)
    assert report.verdict == "agrees"
    assert "BN412" not in {finding.id for finding in report.findings}, "it is not traced"
    assert kinds(tmp_path / "m.onnx")["Split"] == 1
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    found = session.run(None, {session.get_inputs()[0].name: X[:1].repeat(3, 1, 1, 1).numpy()})
    expected = model(X[:1].repeat(3, 1, 1, 1))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.tensor(one), other, rtol=1e-4, atol=1e-5)


def test_outputs_keep_their_names(tmp_path: Path) -> None:
    names = ["first", "second", "third"]
    model = trained(Divided(PARTS["of equal size"]))
    bnc.export(model, (X,), tmp_path / "m.onnx", opset=17, output_names=names)
    assert [value.name for value in onnx.load(tmp_path / "m.onnx").graph.output] == names
