"""A candidate is written in the best form that can be, and proven before it is shipped."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.exporting.candidate import Candidate
from bnconvert.exporting.writing import onnx_file
from bnconvert.reporting.progress import Steps
from bnconvert.reporting.records import Finding
from bnconvert.reporting.report import Report
from bnconvert.verification.comparison import Proof
from tests.zoo import IMAGE, Net, trained


def test_what_the_first_proof_finds_is_kept_beside_what_the_copy_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An untrained model is proven twice: as it is, and as a copy with random statistics."""
    whole, proofs = Candidate._localized, iter(("first", "second"))

    def localized(self: Candidate, proof: Proof, steps: Steps) -> Report:
        found = Finding("BN404", "warning", ("conv",), next(proofs), "nothing")
        shared = Finding("BN404", "warning", ("conv",), "in both", "nothing")
        return replace(whole(self, proof, steps), findings=(found, shared))

    monkeypatch.setattr(Candidate, "_localized", localized)
    report = bnc.export(Net().eval(), IMAGE, tmp_path / "m.onnx")
    said = [found.message for found in report.findings if found.id == "BN404"]
    assert said == ["first", "in both", "second"]


class Talkative(nn.Module):
    """It returns more than tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> dict[str, Any]:
        y = self.body(x)
        return {"size": x.shape, "name": "talkative", "y": y, "none": None, "both": (0.5, y.relu())}


def test_outputs_that_are_no_tensors_are_left_out_and_counted(tmp_path: Path) -> None:
    model, path = trained(Talkative()), tmp_path / "m.onnx"
    report = bnc.export(model, IMAGE, path)
    assert "the file holds tensors only: 6 other outputs are left out" in report.notes
    assert len(onnx.load(path).graph.output) == 2
    assert bnc.verify(model, path, IMAGE).failures == ()


class Conditional(nn.Module):
    """Every image and one more choose their own weights; so many groups are no multiple of them."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(3, 4 * 3 * 3 * 3))
        self.routing = nn.Linear(3, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        x = torch.cat([x, x[:1]])
        chosen = self.routing(x.mean((2, 3))).sigmoid() @ self.weights
        grouped = x.reshape(1, -1, height, width)
        y = F.conv2d(grouped, chosen.view(-1, 3, 3, 3), groups=batch + 1, padding=1)
        output: Tensor = self.norm(y.reshape(batch + 1, 4, height, width))[:batch]
        return output


@pytest.mark.parametrize("batch", [1, 2])
def test_where_no_batch_size_may_vary_the_file_has_the_given_one_and_says_so(
    batch: int, tmp_path: Path
) -> None:
    model, path = trained(Conditional()), tmp_path / "m.onnx"
    report = bnc.export(model, (IMAGE[0][:batch],), path)
    (note,) = [note for note in report.notes if note.startswith("the file takes")]
    assert note.startswith(f"the file takes batches of {batch} only: others cannot be written (")
    assert "aten.conv2d" in note
    assert onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0].dim_value == batch
    assert bnc.verify(model, path, (torch.randn(2 * batch, *IMAGE[0].shape[1:]),)).failures == ()


def test_given_shapes_are_not_given_up(tmp_path: Path) -> None:
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    with pytest.raises(bnc.ExportError, match=r"aten\.conv2d"):
        bnc.export(trained(Conditional()), IMAGE, tmp_path / "m.onnx", dynamic_shapes=shapes)


def test_what_the_exporter_does_not_take_as_a_program_is_traced_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    write = onnx_file.write

    def picky(model: object, *rest: Any) -> None:
        taken.append(type(model).__name__)
        if taken == ["DecomposedProgram"]:
            raise bnc.ExportError("no")
        write(model, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(onnx_file, "write", picky)
    assert bnc.export(trained(Net()), IMAGE, tmp_path / "m.onnx").failures == ()
    assert len(taken) == 2, "the second time as a module"


def test_what_no_exporter_of_graphs_takes_is_traced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise bnc.ExportError("no kernel for it")

    monkeypatch.setattr(onnx_file, "write", refuse)
    model, path = trained(Talkative()), tmp_path / "m.onnx"
    report = bnc.export(model, IMAGE, path)
    assert "the file holds tensors only: 6 other outputs are left out" in report.notes
    (finding,) = report.findings
    assert finding.id == "BN412"
    assert finding.message.startswith("torch.onnx cannot write the captured graph (ExportError: no")
    assert bnc.verify(model, path, IMAGE).failures == ()


class Scaling(nn.Module):
    """A norm of a parameter, times a number, which a file would hold as a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.weight = nn.BatchNorm1d(3), nn.Parameter(torch.rand(4, 3))

    def forward(self, factor: float = 1.0) -> Tensor:
        y: Tensor = self.norm(self.weight)
        return y * factor


@pytest.mark.parametrize("inputs", [(), (3.0,), {"factor": 2.0}], ids=["none", "number", "dict"])
def test_without_a_tensor_among_the_inputs_there_is_no_file(inputs: Any, tmp_path: Path) -> None:
    """It is no traced forward either: the number that was given would be a constant."""
    with pytest.raises(bnc.ExportError, match="takes no tensor, and the file would be a constant"):
        bnc.export(trained(Scaling()), inputs, tmp_path / "m.onnx")
    assert not [*tmp_path.iterdir()]
