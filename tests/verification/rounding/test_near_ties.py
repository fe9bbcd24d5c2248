"""A file may be on either side of a model's own discontinuity, and is right on both."""

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc


class Choosing(nn.Module):
    """Which of two sums is larger decides the output: discontinuous where they nearly tie."""

    def __init__(self) -> None:
        super().__init__()
        self.sums = nn.Linear(4, 2, bias=False)
        self.sums.weight.data = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
        self.table = nn.Parameter(torch.tensor([[10.0, 11.0], [20.0, 21.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.table[self.sums(x).argmax(1)]


@pytest.fixture(scope="module")
def tie(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Tensor, Path]:
    """Return a model, inputs of which one is nearly a tie, and the file."""
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    x[0] = torch.tensor([0.3 + 3e-8, 0.4, 0.4, 0.3])
    model, path = Choosing().eval(), tmp_path_factory.mktemp("tie") / "m.onnx"
    bnc.export(model, (x,), path)
    return model, x, path


def _with_faults(path: Path, target: Path, sums: Tensor, table: float) -> Path:
    """Write the file with the two sums, and the table, multiplied."""
    changed = onnx.load(path)
    for weight in changed.graph.initializer:
        array = onnx.numpy_helper.to_array(weight)
        if array.shape in ((2, 4), (4, 2)):
            factors = sums.numpy()
            array = array * (factors[:, None] if array.shape == (2, 4) else factors)
        elif array.shape == (2, 2):
            array = array * table
        weight.CopyFrom(onnx.numpy_helper.from_array(array.astype(array.dtype), weight.name))
    onnx.save(changed, target)
    return target


def test_a_file_may_be_on_either_side_of_the_models_own_discontinuity(
    tie: tuple[nn.Module, Tensor, Path], tmp_path: Path
) -> None:
    model, x, path = tie
    off = _with_faults(path, tmp_path / "off.onnx", torch.tensor([1, 1 + 5e-7]), 1.0)
    report = bnc.verify(model, off, (x,))
    assert [note for note in report.notes if "is discontinuous, as the position" in note]


@pytest.mark.parametrize(
    ("sums", "table"),
    [([1, 1 + 5e-7], -1.5), ([1, 1 + 5e-7], 1.01), ([1.0, -1.0], 1.0), ([1.0, 5.0], 1.0)],
)
def test_a_fault_in_a_discontinuous_output_is_caught(
    sums: list[float], table: float, tie: tuple[nn.Module, Tensor, Path], tmp_path: Path
) -> None:
    model, x, path = tie
    off = _with_faults(path, tmp_path / "off.onnx", torch.tensor(sums), table)
    with pytest.raises(bnc.VerificationError):
        bnc.verify(model, off, (x,))
    with pytest.raises(bnc.VerificationError):
        bnc.verify(model, off, (torch.cat([x, x]),))
