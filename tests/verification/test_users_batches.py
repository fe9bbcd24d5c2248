from pathlib import Path

import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.errors import ExportError
from bnconvert.exporting.writing.onnx_file import write
from bnconvert.graphs.example import Example
from bnconvert.verification.compared_inputs import Claim
from bnconvert.verification.users_batches import prove_on
from tests.zoo import IMAGE, Net, trained


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
    with pytest.raises(ExportError, match="holds no batch that fills one of the file"):
        prove_on(Kinked(1e9), file, [], Claim())
    wrong = Example((torch.ones(2, 4, dtype=torch.int64), torch.ones(2)), {})
    with pytest.raises(
        ExportError, match=r"verify_inputs: Kinked does not run on \(2, 4\), \(2,\)"
    ):
        prove_on(Kinked(1e9), file, [wrong], Claim())


class Table(nn.Module):
    """Takes a table of fixed size beside the batch."""

    def forward(self, x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        return x @ table


def test_an_input_that_is_no_batch_divides_nothing(tmp_path: Path) -> None:
    path, given = tmp_path / "m.onnx", (torch.randn(2, 4), torch.randn(4, 4))
    shapes = ({0: torch.export.Dim("rows")}, None)
    program = torch.export.export(Table(), given, dynamic_shapes=shapes)
    write(program, given, {}, shapes, path)
    found = prove_on(Table(), path, [Example.of((torch.randn(6, 4), given[1]))], Claim())
    assert found.facts["samples of your data"] == "6"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_file_in_half_precision_is_held_to_its_own_tolerance(tmp_path: Path) -> None:
    model = trained(Net())
    report = bnc.export(
        model, IMAGE, tmp_path / "m.onnx", dtype=torch.float16, verify_inputs=[IMAGE[0]]
    )
    assert report.verdict == "agrees"
    assert int(str(report.facts["samples of your data"])) == len(IMAGE[0])
