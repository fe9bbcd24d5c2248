from dataclasses import replace

import pytest

from bnconvert.reporting.page.charts import WIDTH
from bnconvert.reporting.page.strip import strip_of
from bnconvert.reporting.records import REFUSED, Contents, Finding, NormRow

ROW = NormRow("a.bn", "BatchNorm2d", 8, 1, "folded", "into a.conv (conv2d)")


def test_the_strip_has_a_cell_per_norm_in_order_and_fills_the_width() -> None:
    rows = (ROW, replace(ROW, path="", outcome="standing", reason="why"), ROW)
    strip = strip_of(Contents("t", norms=rows))
    assert strip is not None
    assert [cell.name for cell in strip.cells] == [
        "a.bn: folded, into a.conv (conv2d)",
        "(root): standing, why",
        "a.bn: folded, into a.conv (conv2d)",
    ]
    assert strip.counts == {"folded": ("good", 2), "standing": ("poor", 1)}
    assert [cell.group for cell in strip.cells] == ["good", "poor", "good"]
    assert strip.cells[-1].x + strip.cells[-1].width == pytest.approx(WIDTH, abs=1.1)
    assert strip_of(Contents("t")) is None


def test_a_refused_norm_is_bad_and_one_rewrite_is_as_good_as_another() -> None:
    outcomes = (REFUSED, "Group(groups=8)", "Group(groups=4)", "kept")
    rows = tuple(replace(ROW, outcome=outcome) for outcome in outcomes)
    strip = strip_of(Contents("t", norms=rows))
    assert strip is not None
    assert [cell.group for cell in strip.cells] == ["bad", "g0", "g2", "quiet"]


def test_where_only_modes_are_known_a_norm_has_the_color_of_its_worst_finding() -> None:
    found = (Finding("BN005", "warning", ("b",), "", ""), Finding("BN114", "info", ("b",), "", ""))
    rows = (
        replace(ROW, outcome="eval"),
        replace(ROW, path="b", outcome="training", finding_ids=("BN005", "BN114")),
    )
    strip = strip_of(Contents("t", norms=rows, findings=found))
    assert strip is not None
    assert strip.counts == {"no finding": ("quiet", 1), "warning": ("poor", 1)}
    assert strip.cells[1].name == "b: warning, BN005 BN114, into a.conv (conv2d)"
    assert strip_of(Contents("t", norms=rows[:1])) is None, "there is nothing to see"
