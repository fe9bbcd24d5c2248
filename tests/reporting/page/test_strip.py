from dataclasses import replace

import pytest

from bnconvert.reporting.page.charts import WIDTH
from bnconvert.reporting.page.strip import strip_of
from bnconvert.reporting.records import NormRow

ROW = NormRow("a.bn", "BatchNorm2d", 8, 1, "folded", "into a.conv (conv2d)")


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
