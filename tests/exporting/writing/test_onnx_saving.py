"""A file that is saved without copies of its weights has the bytes that torch writes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from bnconvert.exporting.writing import onnx_saving
from bnconvert.exporting.writing.onnx_saving import save
from bnconvert.torch_private.silence import quiet


class Weights(nn.Module):
    """Large weights and small ones, of several dtypes, and one that is not contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 200, 3)
        self.table = nn.Parameter(torch.arange(2**14).reshape(128, 128), requires_grad=False)
        self.lower = nn.Parameter(torch.randn(100, 200).half().t())
        self.coarse = nn.Parameter(torch.randn(128, 128).bfloat16())
        self.mask = nn.Parameter(torch.rand(200, 200) < 0.5, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).mean((2, 3)) * self.mask.float().mean(0)
        y = y @ self.lower.float()
        z: Tensor = y + self.table[:100, 0] + self.coarse.float()[0, :100]
        return z


@pytest.fixture(scope="module")
def program() -> torch.onnx.ONNXProgram:
    with torch.no_grad(), quiet():
        program = torch.onnx.export(Weights().eval(), (torch.randn(2, 3, 5, 5),), dynamo=True)
    assert program is not None
    weight = program.model.graph.initializers["conv.weight"].const_value
    assert weight is not None
    weight.doc_string = "said of it"
    return program


def test_the_bytes_are_those_that_torch_writes(
    program: torch.onnx.ONNXProgram, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours.onnx", tmp_path / "theirs.onnx"
    save(program, ours, beside=False)
    program.save(str(theirs), external_data=False)
    assert ours.read_bytes() == theirs.read_bytes()
    large = [t for t in onnx.load(ours).graph.initializer if len(t.raw_data) >= 2**14]
    assert len({t.data_type for t in large}) == 5


def test_large_weights_are_not_given_to_protobuf(
    program: torch.onnx.ONNXProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = list[tuple[onnx.ModelProto, dict[str, np.ndarray]]]()

    def noting(model: onnx.ModelProto, numbers: dict[str, np.ndarray], path: Path) -> None:
        written.append((model, numbers))

    monkeypatch.setattr(onnx_saving, "write_outline", noting)
    save(program, tmp_path / "m.onnx", beside=False)
    ((model, numbers),) = written
    assert numbers.keys() == {"conv.weight", "table", "lower"}
    assert all(not t.raw_data for t in model.graph.initializer if t.name in numbers)


def test_what_is_saved_stays_as_it_is(program: torch.onnx.ONNXProgram, tmp_path: Path) -> None:
    weights = program.model.graph.initializers
    before = {name: value.const_value for name, value in weights.items()}
    save(program, tmp_path / "m.onnx", beside=False)
    assert all(value.const_value is before[name] for name, value in weights.items())
    with pytest.raises(FileNotFoundError):
        save(program, tmp_path / "no" / "m.onnx", beside=False)
    assert all(value.const_value is before[name] for name, value in weights.items())


def test_weights_beside_the_file_are_written_by_torch(
    program: torch.onnx.ONNXProgram, tmp_path: Path
) -> None:
    save(program, tmp_path / "m.onnx", beside=True)
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "m.onnx.data"}
