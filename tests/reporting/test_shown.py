"""A repr is a line, and a notebook gets HTML, of every object that has a report."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.reporting.shown import Shown


def net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6)]
    return nn.Sequential(*layers, *(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(6)) for _ in range(9)))


X = torch.randn(4, 3, 4, 4)
MAKERS: dict[str, Callable[[], Shown]] = {
    "Report": lambda: bnc.inspect(net()),
    "Plan": lambda: bnc.plan(net(), bnc.Frozen()),
    "Prepared": lambda: bnc.prepare(net(), bnc.Frozen()),
    "Folded": lambda: bnc.fold(net().eval(), (X,)),
    "Recomputation": lambda: bnc.recompute_statistics(net(), [X]),
}


@pytest.mark.parametrize("name", MAKERS)
def test_an_object_is_shown_in_a_line_and_as_tables(name: str) -> None:
    shown = MAKERS[name]()
    assert repr(shown).startswith(f"<{name} OK: ")
    assert repr(shown).endswith(">")
    assert len(repr(shown)) <= 320
    page = shown._repr_html_()
    assert page.startswith('<p><b style="color:#2e9e63">OK</b> <b>')
    assert page.count(">2.1</td>") == 1
    assert "<html" not in page


def test_a_long_policy_does_not_make_a_long_repr() -> None:
    policy = bnc.Policy({f"{i}.*": bnc.Frozen() for i in range(2, 11)} | {"1": bnc.Keep()})
    assert len(repr(bnc.plan(net(), policy))) <= 320


def test_a_notebook_is_not_written_to_by_names() -> None:
    evil = nn.Sequential()
    evil.add_module("<script>", nn.BatchNorm2d(3))
    assert "<script>" not in bnc.inspect(evil)._repr_html_()


def test_what_is_refused_is_not_ok() -> None:
    refused = bnc.plan(nn.BatchNorm2d(6), bnc.Group(4))
    assert repr(refused).startswith("<Plan FAIL: ")
    assert not refused.report.ok


def test_a_plan_is_iterated_by_its_decisions() -> None:
    planned = bnc.plan(net(), bnc.Frozen())
    assert [decision.site.path for decision in planned][:2] == ["1", "2.1"]
    assert bool(bnc.plan(nn.ReLU(), bnc.Keep())), "a plan without norms is a plan"


def test_what_is_prepared_reports_the_groups() -> None:
    ready = bnc.prepare(net(), bnc.Frozen(affine="trainable"), weight_decay=0.1)
    assert any(note.startswith("parameter group 1: 1 parameters") for note in ready.report.notes)
