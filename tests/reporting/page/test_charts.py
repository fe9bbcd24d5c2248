from dataclasses import replace
from math import inf, nan

import pytest

from bnconvert.reporting.page.charts import (
    BOTTOM,
    HEIGHT,
    TOP,
    WIDTH,
    checks_chart,
    drift_chart,
    scores_chart,
    strip_of,
)
from bnconvert.reporting.records import Check, Contents, NormRow, StatisticsRow

ROW = NormRow("a.bn", "BatchNorm2d", 8, 1, "folded", "into a.conv (conv2d)")
OFF = StatisticsRow("a.bn", "BatchNorm2d", 8, 64, 0.4, 0.1, 0.01, 8, "precise")
CHECK = Check("example, batch 2", "output 0", "norm", 1e-7, 1e-6, passed=True)
FLOOR, CEILING = HEIGHT - BOTTOM, TOP


def test_the_strip_has_a_cell_per_norm_in_order_and_fills_the_width() -> None:
    rows = [ROW, replace(ROW, path="", outcome="standing", reason="why"), ROW]
    strip = strip_of(rows)
    assert strip is not None
    assert [cell.name for cell in strip.cells] == [
        "a.bn: folded, into a.conv (conv2d)",
        "(root): standing, why",
        "a.bn: folded, into a.conv (conv2d)",
    ]
    assert strip.counts == {"folded": 2, "standing": 1}
    assert [cell.group for cell in strip.cells] == ["o0", "o1", "o0"]
    assert strip.cells[-1].x + strip.cells[-1].width == pytest.approx(WIDTH, abs=1.1)
    assert strip_of(()) is None


def test_what_is_farther_off_is_higher_and_what_is_not_finite_is_at_the_edge() -> None:
    rows = [OFF, replace(OFF, path="b", mean_distance=None), replace(OFF, path="", against="batch")]
    chart = drift_chart(rows)
    assert chart is not None
    assert [mark.name for mark in chart.marks] == [
        "a.bn: mean off by 0.4",
        "b: mean off by not finite",
        "a.bn: sigma off by 0.1",
        "b: sigma off by 0.1",
    ]  # against precise statistics only
    mean, broken, sigma, _ = chart.marks
    assert broken.y == CEILING < mean.y < sigma.y < FLOOR
    assert chart.limit is not None
    assert mean.y < chart.limit < sigma.y
    assert drift_chart(()) is None


@pytest.mark.parametrize(
    ("error", "above"), [(1e-7, False), (2e-6, True), (0.0, False), (nan, True)]
)
def test_a_check_that_fails_is_above_the_line(error: float, above: bool) -> None:
    chart = checks_chart([replace(CHECK, error=error, passed=not above)])
    assert chart is not None
    (mark,) = chart.marks
    assert chart.limit is not None
    assert (mark.y < chart.limit) == above
    assert CEILING <= mark.y <= FLOOR
    assert mark.group == ("bad" if above else "good")
    assert checks_chart(()) is None


def test_bars_are_as_long_as_the_scores() -> None:
    scores = {"loss": {"running": 2.0, "batch": 1.0, "precise": inf}}
    running, batch, precise = scores_chart(Contents("t", scores=scores))["loss"]
    assert running.x - 100 == pytest.approx(2 * (batch.x - 100))
    assert (running.value, precise.value) == ("2", "not finite")
    assert scores_chart(Contents("t")) == {}
