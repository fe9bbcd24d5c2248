from dataclasses import replace
from math import nan

import pytest

from bnconvert.reporting.page.charts import (
    BOTTOM,
    HEIGHT,
    TOP,
    checks_chart,
    drift_chart,
)
from bnconvert.reporting.records import Check, StatisticsRow

OFF = StatisticsRow("a.bn", "BatchNorm2d", 8, 64, 0.4, 0.1, 0.01, 8, "precise")
CHECK = Check("example, batch 2", "output 0", "norm", 1e-7, 1e-6, passed=True)
FLOOR, CEILING = HEIGHT - BOTTOM, TOP


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


def test_the_ends_of_a_chart_are_named_by_the_last_parts_of_a_path() -> None:
    chart = drift_chart(
        [replace(OFF, path=""), replace(OFF, path="backbone.layer4.0.downsample.1")]
    )
    assert chart is not None
    assert (chart.first, chart.last) == ("(root)", "…kbone.layer4.0.downsample.1")
    alone = drift_chart([OFF])
    assert alone is not None
    assert (alone.first, alone.last) == ("a.bn", "")
