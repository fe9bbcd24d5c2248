from pathlib import Path

import pytest
import torch
from torch import nn

from bnconvert.errors import ExportError
from bnconvert.exporting.onnx_file import write
from bnconvert.graphs.example import Example
from bnconvert.verification.compared_inputs import Claim
from bnconvert.verification.users_batches import prove_on


class Kinked(nn.Module):
    """Differs from a plain sum beyond what a file was compared on."""

    def __init__(self, beyond: float) -> None:
        super().__init__()
        self.beyond = beyond

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x.clamp(max=self.beyond), x.sum(1, keepdim=True)], 1)


def example(rows: int, scale: float = 1.0) -> Example:
    generator = torch.Generator().manual_seed(rows)
    return Example((torch.randn(rows, 4, generator=generator) * scale,), {})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a file of batches of two rows."""
    path = tmp_path / "m.onnx"
    program = torch.export.export(Kinked(1e9), example(2).args)
    write(program, example(2).args, {}, None, path)
    return path


def test_batches_are_divided_as_the_file_takes_them(file: Path) -> None:
    found = prove_on(Kinked(1e9), file, [example(5), example(4)], Claim())
    assert found.failing is None
    assert {check.case for check in found.checks} == {"your data, 8 samples"}
    assert found.facts == {
        "samples of your data": "8",
        "top-1 agreement on your data": "100.00% of 8 samples",
    }


def test_the_batch_on_which_it_differs_is_returned(file: Path) -> None:
    found = prove_on(Kinked(50.0), file, [example(2), example(2, 1000.0)], Claim())
    assert found.failing is not None
    assert float(found.failing.args[0].abs().max()) > 50
    assert not all(check.passed for check in found.checks)


def test_no_batch_and_one_that_the_model_does_not_take_are_refused(file: Path) -> None:
    with pytest.raises(ExportError, match="verify_inputs: holds no batch; give real inputs"):
        prove_on(Kinked(1e9), file, [], Claim())
    wrong = Example((torch.ones(2, 4, dtype=torch.int64), torch.ones(2)), {})
    with pytest.raises(
        ExportError, match=r"verify_inputs: Kinked does not run on \(2, 4\), \(2,\)"
    ):
        prove_on(Kinked(1e9), file, [wrong], Claim())
