"""A model that cannot be captured whole becomes a file that says so."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.onnx_trace import write_trace
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
    assert "test_onnx_trace.py:" in finding.message
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
    assert {p.name for p in tmp_path.iterdir()} == {"m.failed.onnx"}


def test_given_dynamic_shapes_are_refused(tmp_path: Path) -> None:
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    with pytest.raises(bnc.CaptureError, match=r"only its parts body"):
        bnc.export(trained(Deciding(small)), IMAGE, tmp_path / "m.onnx", dynamic_shapes=shapes)


def test_the_places_of_decisions_are_returned_once(tmp_path: Path) -> None:
    model = nn.Sequential(trained(Deciding(small)), nn.Sigmoid(), nn.Conv2d(4, 3, 1)).eval()
    twice = nn.Sequential(model, model)
    (place,) = write_trace(twice, IMAGE, {}, tmp_path / "m.onnx")
    assert place.startswith("test_onnx_trace.py:")


def test_what_the_exporter_refuses_is_an_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.bessel_j0(x)

    with pytest.raises(bnc.ExportError, match=r"m\.onnx: no ONNX file can be made by tracing"):
        write_trace(Odd(), IMAGE, {}, tmp_path / "m.onnx")
    assert capfd.readouterr().out == ""
