"""What a fold would report is what it reports."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.folding.fold_report import foreseen_report
from bnconvert.graphs.example import Example
from bnconvert.numerics.factored import Factored
from tests.zoo import ZOO, ZooModel, build


@pytest.mark.parametrize("zoo", ZOO, ids=lambda zoo: zoo.name)
def test_what_is_foreseen_is_what_folding_reports(zoo: ZooModel) -> None:
    model, inputs = build(zoo.name)
    assert _told(lambda: foreseen_report(model, Example.of(inputs))) == _told(
        lambda: replace(bnc.fold(model, inputs).report, digests={})
    )


def _told(report: Callable[[], bnc.Report]) -> object:
    """Return a report, or the message of the refusal."""
    try:
        return report()
    except bnc.CaptureError as failure:
        return str(failure)


def test_no_weight_is_multiplied_out_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    numbers = Factored.numbers

    def counted(self: Factored) -> torch.Tensor:
        computed.append(self.shape.numel())
        return numbers(self)

    monkeypatch.setattr(Factored, "numbers", counted)
    block = nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()
    model = nn.Sequential(*block, nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)).eval()
    report = foreseen_report(model, Example.of((torch.randn(2, 8, 8, 8),)))
    assert [row.outcome for row in report.norms] == ["folded", "folded"]
    assert max(computed) == 8  # the norms' own numbers
    bnc.fold(model, (torch.randn(2, 8, 8, 8),))
    assert computed.count(8 * 8 * 3 * 3) == 2  # each weight once


def test_its_first_forward_can_be_watched() -> None:
    watched: list[nn.Module] = []

    def watch(copy: nn.Module) -> AbstractContextManager[None]:
        watched.append(copy)
        return nullcontext()

    model, inputs = build("residual")
    foreseen_report(model, Example.of(inputs), watch)
    (copy,) = watched
    assert type(copy) is type(model)
    assert copy is not model
