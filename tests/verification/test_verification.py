"""A proof lets go of what came before it; a failure in words: what differs, how much, where."""

import gc
import math
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.numerics.distance import MEASURES
from bnconvert.reporting.records import Check, Finding
from bnconvert.reporting.report import Report
from bnconvert.verification import verification
from bnconvert.verification.finding_ids import DIVERGENCE
from bnconvert.verification.verification import failure_sentences, prove
from tests.zoo import IMAGE, Net, trained


def check(
    measure: Literal["norm", "peak", "rows"], *, passed: bool = False, detail: str = ""
) -> Check:
    return Check("given inputs, batch 2", "y", measure, 0.5, 0.25, passed, detail)


def test_every_failure_says_what_differs_and_by_how_much() -> None:
    checks = (check("norm"), check("peak"), check("rows"), check("norm", passed=True))
    assert failure_sentences(Report("", checks=checks)) == [
        "given inputs, batch 2, y: relative root mean square error 5.0e-01, 2.5e-01 allowed",
        "given inputs, batch 2, y: largest relative error 5.0e-01, 2.5e-01 allowed",
        "given inputs, batch 2, y: depends on the rest of its batch by 5.0e-01, 2.5e-01 allowed",
    ]


def test_a_detail_stands_in_the_place_of_figures() -> None:
    shapes = Check("given inputs", "y", "norm", math.inf, 0.0, False, "other shapes")
    assert failure_sentences(Report("", checks=(shapes,))) == ["given inputs, y: other shapes"]


def test_the_operator_where_they_diverge_is_named_first() -> None:
    divergence = Finding(DIVERGENCE, "error", ("conv",), "wrong from Conv on", "look at its weight")
    other = Finding("BN405", "warning", ("conv",), "overflows", "scale it")
    report = Report("", checks=(check("norm"),), findings=(other, divergence))
    assert failure_sentences(report)[:-1] == ["BN404: wrong from Conv on; look at its weight"]


def test_of_many_checks_that_fail_some_are_listed_and_all_counted() -> None:
    failing = [Check(f"batch {size}", "y", "norm", 0.5, 0.25, False) for size in range(6)]
    report = Report("", checks=(*failing, check("norm", passed=True)))
    *listed, count = failure_sentences(report)
    assert [sentence.split(",")[0] for sentence in listed] == ["batch 0", "batch 1", "batch 2"]
    assert count == "6 of 7 checks fail; the report has all of them"
    assert len(failure_sentences(Report("", checks=tuple(failing[:4])))) == 4, "nothing is gained"


def test_what_is_said_of_both_measures_is_said_once() -> None:
    shapes = [
        Check("given inputs", "y", measure, math.inf, 0.0, False, "other shapes")
        for measure in MEASURES
    ]
    assert failure_sentences(Report("", checks=tuple(shapes))) == ["given inputs, y: other shapes"]


class Cycle:
    """Refers to itself, as graphs and their nodes do, and holds weights."""

    def __init__(self) -> None:
        self.weights, self.itself = torch.ones(1000), self


@pytest.mark.parametrize("large", [False, True])
def test_of_a_large_model_a_proof_first_lets_go_of_what_refers_to_itself(
    large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else weights of earlier proofs, of graphs and in float64 lie beside it: 3 GB of 1 GB."""
    model, path = trained(Net()), tmp_path / "m.onnx"
    bnc.export(model, IMAGE, path)
    monkeypatch.setattr(verification, "_LARGE", 0 if large else 2**40)
    gc.collect()
    gc.disable()
    try:
        kept = weakref.ref(Cycle())
        prove(model, Example.of(IMAGE), path)
        assert (kept() is None) is large
    finally:
        gc.enable()


class HalfBackbone(nn.Module):
    """A backbone in half precision, averaged in float32, which hides what its layers round."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        channels = (3, 8, 16, 32)
        layers = [
            layer
            for i, o in pairwise(channels)
            for layer in (nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
        ]
        self.backbone, self.head = trained(nn.Sequential(*layers)).half(), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.backbone(x.half()).float().mean((2, 3)))
        return y


def test_folded_weights_in_half_precision_may_be_rounded_anew(tmp_path: Path) -> None:
    model, path = HalfBackbone().eval(), tmp_path / "m.onnx"
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert bnc.export(model, (x,), path).facts["folded"] == 3
    with torch.no_grad():
        model.get_buffer("backbone.4.running_mean")[:2] += 0.1
    with pytest.raises(bnc.VerificationError):
        bnc.verify(model, path, (x,))
