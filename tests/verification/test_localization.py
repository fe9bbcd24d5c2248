"""Faults are planted in files, one operator each, and the operator is named."""

import copy
import re
from pathlib import Path

import numpy as np
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
    (finding,) = (f for f in failure.value.report.findings if f.severity == "error")
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
    assert found.fix.startswith("a fold of bnconvert is wrong: please report it")


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


class Products(nn.Module):
    """Outputs whose channels, numbers and rows are of many sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.last, self.head = nn.Conv2d(4, 4, 1, bias=False), nn.Linear(4, 40)
        self.sizes = nn.Parameter(torch.tensor([1, 1, 1e-7, 1]).reshape(4, 1, 1))
        self.plain = nn.Linear(108, 5, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.last(F.relu(self.norm(self.first(x))))
        scaled = y * self.sizes
        exponential = torch.exp(self.head(y.mean((2, 3))) * 20)
        return scaled, exponential, self.plain(x.flatten(1))


#: A value that an operator is planted behind, which changes it in a small part only.
SMALL_PARTS = {
    "a channel of 1e-7 of the others": ("mul", "Add", 3e-9),
    "small values beside exp of large ones": ("exp", "Max", 1e-3),
    "a row of 1e-6 of the others": ("linear_1", "Add", 1e-9),
}
SMALL_ROW = (
    INPUTS[0].repeat(2, 1, 1, 1)[:3, :, :6, :6] * torch.tensor([1e-6, 1, 1])[:, None, None, None],
)


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Graphs, Path]:
    torch.manual_seed(0)
    model, path = trained(Products()), tmp_path_factory.mktemp("products") / "m.onnx"
    program = torch.onnx.export(model, SMALL_ROW, dynamo=True, verbose=False)
    assert program is not None
    program.save(path)
    graph = capture_of(model, SMALL_ROW).module
    return model, Graphs(graph, graph), path


def plant_behind(path: Path, wrong: Path, value: str, kind: str, number: float) -> None:
    file = onnx.load(path)
    for node in file.graph.node:
        node.input[:] = ["changed" if name == value else name for name in node.input]
    for output in file.graph.output:
        output.name = "changed" if output.name == value else output.name
    constant = onnx.numpy_helper.from_array(np.array(number, np.float32), "number")
    file.graph.initializer.append(constant)
    (place,) = [place for place, node in enumerate(file.graph.node) if value in node.output]
    planted = onnx.helper.make_node(kind, [value, "number"], ["changed"], name="planted")
    file.graph.node.insert(place + 1, planted)
    onnx.save(file, wrong)


@pytest.mark.parametrize("part", SMALL_PARTS)
def test_an_operator_that_is_wrong_in_a_small_part_only_is_named(
    products: tuple[nn.Module, Graphs, Path], tmp_path: Path, part: str
) -> None:
    """The value as a whole is within rounding of what it should be."""
    model, graphs, path = products
    plant_behind(path, tmp_path / "wrong.onnx", *SMALL_PARTS[part])
    example = Example.of(SMALL_ROW)
    found = find_divergence(model, example, tmp_path / "wrong.onnx", lambda _: graphs)
    assert isinstance(found, Finding), found
    assert found.message.startswith("planted (")


def test_a_wrong_channel_of_small_weights_is_named(
    products: tuple[nn.Module, Graphs, Path], tmp_path: Path
) -> None:
    model, graphs, path = products
    file = onnx.load(path)
    (sizes,) = (weight for weight in file.graph.initializer if list(weight.dims) == [4, 1, 1])
    array = onnx.numpy_helper.to_array(sizes) * np.array([1, 1, 1.1, 1]).reshape(4, 1, 1)
    sizes.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float32), sizes.name))
    onnx.save(file, tmp_path / "wrong.onnx")
    example = Example.of(SMALL_ROW)
    found = find_divergence(model, example, tmp_path / "wrong.onnx", lambda _: graphs)
    assert isinstance(found, Finding), found
    assert re.search(r"its value mul is off by 1\.0e-01 in channel 2, \S+ allowed", found.message)


def test_parts_of_a_right_file_are_not_blamed(
    products: tuple[nn.Module, Graphs, Path], model: nn.Module, tmp_path: Path
) -> None:
    product, graphs, path = products
    found = find_divergence(product, Example.of(SMALL_ROW), path, lambda _: graphs)
    assert isinstance(found, str), found
    assert "many small errors add up" in found
    graph, other = capture_of(model, INPUTS).module, written(model, tmp_path / "m.onnx", "torch")
    graphs = Graphs(graph, graph)
    assert isinstance(find_divergence(model, Example.of(INPUTS), other, lambda _: graphs), str)
