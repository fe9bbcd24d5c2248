"""Faults are planted in files, one operator each, and the operator is named."""

import copy
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.errors import CaptureError
from bnconvert.graphs.example import Example
from bnconvert.reporting.records import Finding
from bnconvert.verification.localization import Graphs, find_divergence, localize
from bnconvert.verification.verification import prove
from tests.excerpts import capture_of
from tests.faults import broken_files
from tests.zoo import trained


class Small(nn.Module):
    """Convolutions, a norm that stands, a concatenation, pooling and a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.stem_norm = nn.BatchNorm2d(6)
        self.left = nn.Conv2d(6, 4, 3, padding=1)
        self.right = nn.Conv2d(6, 4, 1)
        self.late_norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.stem_norm(self.stem(x)))
        y = F.gelu(torch.cat([self.left(y), torch.sigmoid(self.right(y))], 1))
        y = F.relu(self.late_norm(F.max_pool2d(y, 2)))
        result: Tensor = F.softmax(self.head(y.mean((2, 3))), -1)
        return result


INPUTS = (torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)),)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return trained(Small())


def written(model: nn.Module, path: Path, writer: str) -> Path:
    """Write a file as different tools do: ours, torch's, and torch's without any names."""
    if writer == "ours":
        bnc.export(model, INPUTS, path)
        return path
    program = torch.onnx.export(model, INPUTS, dynamo=True, verbose=False)
    assert program is not None
    program.save(path)
    if writer == "nameless":
        onnx.save(without_names(onnx.load(path)), path)
    return path


def without_names(file: onnx.ModelProto) -> onnx.ModelProto:
    names = {value.name for value in (*file.graph.input, *file.graph.output)}
    renamed: dict[str, str] = {}
    for number, node in enumerate(file.graph.node):
        node.name = f"node{number}"
        del node.metadata_props[:]
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
        for index, name in enumerate(node.output):
            if name not in names:
                renamed[name] = f"value{number}_{index}"
                node.output[index] = renamed[name]
    del file.graph.value_info[:]
    return file


@pytest.mark.slow
@pytest.mark.parametrize("writer", ["ours", "torch", "nameless"])
def test_every_planted_fault_is_caught_and_its_operator_named(
    model: nn.Module, tmp_path: Path, writer: str
) -> None:
    right = written(model, tmp_path / "right.onnx", writer)
    assert bnc.verify(model, right, INPUTS).failures == ()
    wrong, kinds = tmp_path / "wrong.onnx", set()
    for fault, node in broken_files(right, wrong):
        try:
            bnc.verify(model, wrong, INPUTS)
        except bnc.VerificationError as failure:
            (finding,) = [f for f in failure.report.findings if f.id == "BN404"]
            assert node.output[0] in finding.message or node.name in finding.message, fault.name
            kinds.add(fault.name)
        except bnc.ExportError:
            kinds.add(fault.name)  # it cannot be run at all, and says why
    assert {"weight", "NaN", "bias", "pads", "axis"} <= kinds
    assert writer == "ours" or "eps" in kinds  # in ours no norm is left that has one


def test_the_finding_names_the_module_and_figures(model: nn.Module, tmp_path: Path) -> None:
    path = written(model, tmp_path / "m.onnx", "torch")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.get_parameter("right.weight").mul_(1.001)
    with pytest.raises(bnc.VerificationError) as failure:
        bnc.verify(other, path, INPUTS)
    (finding,) = failure.value.report.findings
    assert (finding.id, finding.severity, finding.paths) == ("BN404", "error", ("right",))
    assert "off" in finding.message
    assert finding.message in str(failure.value)


def test_no_graph_is_captured_where_nothing_differs(model: nn.Module, tmp_path: Path) -> None:
    path = written(model, tmp_path / "m.onnx", "torch")

    def graphs(example: Example) -> Graphs:
        raise AssertionError("the file is right")

    proof = prove(model, Example.of(INPUTS), path)
    assert localize(proof, model, path, graphs, lambda step: None) is proof.report


def test_a_file_that_holds_what_a_wrong_fold_computes_is_laid_to_the_fold(
    model: nn.Module, tmp_path: Path
) -> None:
    wrong = copy.deepcopy(model)
    with torch.no_grad():
        wrong.get_parameter("left.weight").mul_(1.01)
    path = written(wrong, tmp_path / "m.onnx", "torch")
    graphs = Graphs(capture_of(model, INPUTS).module, capture_of(wrong, INPUTS).module)
    found = find_divergence(model, Example.of(INPUTS), path, lambda example: graphs)
    assert isinstance(found, Finding)
    assert found.paths == ("left",)
    assert found.fix.startswith("a fold is wrong: please report it")


def test_without_a_graph_the_report_says_why_no_operator_is_named(
    model: nn.Module, tmp_path: Path
) -> None:
    path = written(model, tmp_path / "m.onnx", "torch")

    def graphs(example: Example) -> Graphs:
        raise CaptureError("only parts of it can be captured")

    found = find_divergence(model, Example.of(INPUTS), path, graphs)
    assert found == (
        "where the file diverges from the model could not be found (CaptureError: only parts of it "
        "can be captured)"
    )
