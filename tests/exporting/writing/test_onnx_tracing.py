"""A model that cannot be captured whole becomes a file that says so."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.exporting.writing.onnx_tracing import FlatCall, write_trace
from bnconvert.graphs.example import Example
from tests.zoo import IMAGE, trained


class Deciding(nn.Module):
    """Python looks at the numbers of a tensor, and decides."""

    def __init__(self, decide: Callable[[Tensor], bool]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.decide = decide

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y.relu() if self.decide(x) else -y


def small(x: Tensor) -> bool:
    return bool(x.abs().mean() < 10)


def test_its_parts_are_folded_and_one_forward_is_traced(tmp_path: Path) -> None:
    model, path = trained(Deciding(small)), tmp_path / "m.onnx"
    report = bnc.export(model, IMAGE, path)
    assert [(row.path, row.outcome) for row in report.norms] == [("body.1", "folded")]
    assert report.failures == ()
    (finding,) = report.findings
    assert (finding.id, finding.severity) == ("BN412", "warning")
    assert "test_onnx_tracing.py:" in finding.message
    assert {p.name for p in tmp_path.iterdir()} == {"m.onnx"}
    written = onnx.load(path)
    assert "BatchNormalization" not in {node.op_type for node in written.graph.node}
    assert "/" not in "".join(node.doc_string for node in written.graph.node)
    with pytest.raises(bnc.VerificationError):
        bnc.verify(model, path, (IMAGE[0] + 100,))


def test_a_decision_that_other_inputs_turn_round_is_caught(tmp_path: Path) -> None:
    corner = IMAGE[0].flatten()[0]
    model = trained(Deciding(lambda x: bool((x.flatten()[0] - corner).abs() < 1e-3)))
    with pytest.raises(bnc.VerificationError):
        bnc.export(model, IMAGE, tmp_path / "m.onnx")
    assert {p.name for p in tmp_path.iterdir()} == {"m.failed.onnx", "m.failed.zip"}


def test_given_dynamic_shapes_are_refused(tmp_path: Path) -> None:
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    with pytest.raises(bnc.CaptureError, match=r"neither with the given dynamic_shapes"):
        bnc.export(trained(Deciding(small)), IMAGE, tmp_path / "m.onnx", dynamic_shapes=shapes)


def test_the_places_of_decisions_are_returned_once(tmp_path: Path) -> None:
    model = nn.Sequential(trained(Deciding(small)), nn.Sigmoid(), nn.Conv2d(4, 3, 1)).eval()
    twice = FlatCall(nn.Sequential(model, model), Example.of(IMAGE))
    (place,) = write_trace(twice, [("x", *IMAGE)], tmp_path / "m.onnx")
    assert place.startswith("test_onnx_tracing.py:")


class Pair(nn.Module):
    """Two inputs, one of them in a list, and outputs that are no tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))

    def forward(self, a: Tensor, scale: float, b: list[Tensor]) -> dict[str, object]:
        if a.abs().mean() > 10:
            return {}
        return {"n": 7, "y": self.body(a) - scale * self.body(b[0]), "text": "hello", "none": None}


def test_inputs_in_any_order_and_outputs_that_are_no_tensors(tmp_path: Path) -> None:
    model, path = trained(Pair()), tmp_path / "m.onnx"
    inputs = {"b": [torch.randn(2, 3, 8, 8)], "scale": 2.0, "a": torch.randn(2, 3, 8, 8)}
    report = bnc.export(model, inputs, path)
    assert [finding.id for finding in report.findings] == ["BN412"]
    assert "the file holds tensors only: 2 other outputs are left out" in report.notes
    assert [value.name for value in onnx.load(path).graph.input] == ["b_0", "a"]
    assert bnc.verify(model, path, inputs).failures == ()


def test_what_the_exporter_refuses_is_an_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = torch.special.bessel_j0(x)
            return y

    with pytest.raises(bnc.ExportError, match=r"m\.onnx: no ONNX file can be made by tracing"):
        write_trace(FlatCall(Odd(), Example.of(IMAGE)), [("x", *IMAGE)], tmp_path / "m.onnx")
    assert capfd.readouterr().out == ""


@dataclass
class Picture:
    pixels: Tensor


class Wrapped(nn.Module):
    """Takes and returns tensors inside objects."""

    def __init__(self, taken: Callable[[Any], Tensor], returned: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.taken, self.returned = taken, returned

    def forward(self, x: Any) -> Any:
        return self.returned(self.body(self.taken(x)))


@pytest.mark.parametrize(
    ("taken", "returned", "inputs", "said"),
    [
        (lambda x: x, Picture, IMAGE, "its forward returns a Picture, whose tensors torch does"),
        (lambda x: x, lambda y: (y, Picture(y)), IMAGE, "its forward returns a Picture, whose"),
        (lambda x: x, lambda y: None, IMAGE, "its forward returns no tensor; return what"),
        (lambda x: x.pixels, lambda y: y, (Picture(IMAGE[0]),), "its input is a Picture, whose"),
    ],
)
def test_tensors_that_torch_does_not_see_are_refused(
    tmp_path: Path, taken: Any, returned: Any, inputs: Any, said: str
) -> None:
    with pytest.raises(bnc.ExportError, match=said):
        bnc.export(trained(Wrapped(taken, returned)), inputs, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
