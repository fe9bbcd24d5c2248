"""onnxslim without the numbers of large weights does what it does with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxslim
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from bnconvert.exporting.writing.onnx_file import write
from bnconvert.exporting.writing.onnx_slimming import simplified
from bnconvert.torch_private.silence import quiet
from tests.zoo import trained


class Attention(nn.Module):
    """Large weights of all kinds: convolutions, products, one that is transposed, one shared."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 64, 4, stride=4)
        self.position = nn.Parameter(torch.randn(64, 100))
        self.keys, self.values = nn.Linear(64, 128), nn.Linear(64, 128, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x[:, :, 1:, 1:])  # two operators, of which onnxslim makes one
        x = x.reshape(x.shape[0], 64, -1).permute(0, 2, 1)
        x = x + self.position.t()[None, : x.shape[1]]
        x = torch.softmax(self.keys(x), -1) * self.values(x)
        return (x @ self.values.weight).reshape(x.shape[0], -1, 4, 16).permute(0, 2, 1, 3)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    image = torch.randn(2, 3, 17, 17)
    shapes = ({0: torch.export.Dim("batch")},)
    write(trained(Attention()).eval(), (image,), {}, shapes, path)
    return path


def numbers(model: onnx.ModelProto) -> dict[str, bytes]:
    return {t.name: numpy_helper.to_array(t).tobytes() for t in model.graph.initializer}


def watched(
    monkeypatch: pytest.MonkeyPatch, wrapper: Callable[..., None] | None = None
) -> list[int]:
    """Note how many bytes of weights onnxslim is given at each call."""
    given, slim = list[int](), onnxslim.slim

    def noting(model: onnx.ModelProto, **options: Any) -> onnx.ModelProto:
        given.append(sum(len(tensor.raw_data) for tensor in model.graph.initializer))
        if wrapper and len(given) == 1:
            wrapper(model)
        simpler: onnx.ModelProto = slim(model, **options)
        return simpler

    monkeypatch.setattr(onnxslim, "slim", noting)
    return given


def test_the_file_is_what_onnxslim_makes_of_all_numbers(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with quiet():
        expected = onnxslim.slim(onnx.load(file))
    given = watched(monkeypatch)
    simpler = simplified(file)
    assert simpler is not None
    written = onnx.load(simpler)
    assert [n.op_type for n in written.graph.node] == [n.op_type for n in expected.graph.node]
    assert numbers(written) == numbers(expected)
    assert len(given) == 1
    assert given[0] < sum(map(len, numbers(onnx.load(file)).values())) / 2


def test_where_a_step_needs_the_numbers_it_gets_them(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reading(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            numpy_helper.to_array(tensor)

    given = watched(monkeypatch, reading)
    simpler = simplified(file)
    assert simpler is not None
    assert given[1] == sum(map(len, numbers(onnx.load(file)).values()))
    before, after = numbers(onnx.load(file)), numbers(onnx.load(simpler))
    assert {name: before[name] for name in before if "weight" in name}.items() <= after.items()


def test_a_weight_that_another_operator_reads_too_keeps_its_numbers(tmp_path: Path) -> None:
    """Its transposed copy is computed beforehand, as with all numbers."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(64, 64))

        def forward(self, x: Tensor) -> Tensor:
            y = x[:, 1:9, 1:9].reshape(x.shape[0], 64) @ self.weight
            return y @ self.weight.t()

    path = tmp_path / "m.onnx"
    shapes = ({0: torch.export.Dim("batch")},)
    write(Tied().eval(), (torch.randn(2, 9, 9),), {}, shapes, path)
    with quiet():
        expected = onnxslim.slim(onnx.load(path))
    simpler = simplified(path)
    assert simpler is not None
    written = onnx.load(simpler)
    assert [n.op_type for n in written.graph.node] == [n.op_type for n in expected.graph.node]
    assert numbers(written) == numbers(expected)
