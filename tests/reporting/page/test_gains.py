from dataclasses import replace

import pytest

from bnconvert.reporting.page.charts import BOTTOM, HEIGHT, TOP
from bnconvert.reporting.page.gains import gain_chart
from bnconvert.reporting.records import NormRow

FLOOR, CEILING = HEIGHT - BOTTOM, TOP
ROW = NormRow("a.bn", "BatchNorm2d", 8, 1, "folded", gains=(0.1, 1.0, 10.0))


def test_a_norm_is_a_range_with_its_median_on_a_logarithmic_axis() -> None:
    chart = gain_chart([ROW, replace(ROW, path="", gains=(1.0, 1.0, 1.0))])
    assert chart is not None
    assert [mark.name for mark in chart.marks] == [
        "a.bn: 1, from 0.1 to 10",
        "(root): 1, from 1 to 1",
    ]
    first, second = chart.spans
    assert (first.top, first.bottom) == (CEILING, FLOOR)
    assert second.top == second.bottom == pytest.approx((CEILING + FLOOR) / 2)
    assert [tick.text for tick in chart.ticks] == ["0.1", "1", "10"]
    assert "edge" not in chart.caption


def test_gains_of_nothing_are_at_the_lower_edge_and_the_caption_says_so() -> None:
    chart = gain_chart([replace(ROW, gains=(0.0, 1e-30, 1.0)), replace(ROW, path="b")])
    assert chart is not None
    assert chart.spans[0].bottom == chart.marks[0].y == FLOOR
    assert chart.caption.endswith("; what is below 0.0001 is drawn at the edge")


def test_a_norm_that_is_called_twice_is_there_once_and_one_without_gains_is_not() -> None:
    chart = gain_chart([ROW, ROW, replace(ROW, path="b", gains=())])
    assert chart is not None
    assert len(chart.marks) == 1


def test_where_all_channels_are_multiplied_by_the_same_there_is_no_chart() -> None:
    assert gain_chart([replace(ROW, gains=(0.999995,) * 3)]) is None
    assert gain_chart([replace(ROW, gains=())]) is None
    assert gain_chart([replace(ROW, gains=(0.0, 0.0, 0.0))]) is None
