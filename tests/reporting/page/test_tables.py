from dataclasses import replace

from bnconvert.reporting.page.tables import tables_of
from bnconvert.reporting.records import REFUSED, Check, Contents, NormRow, StatisticsRow

ROW = NormRow("a", "BatchNorm2d", 8, 1, "folded", "into x")
OFF = StatisticsRow("a", "BatchNorm2d", 8, 64, 1.0, 0.1, 0.01, 8, "precise")


def test_what_all_rows_say_stands_once_above_them() -> None:
    rows = tuple(replace(ROW, path=f"bn{i}", channels=2 * i) for i in range(3))
    (table,) = tables_of(Contents("t", norms=rows))
    assert table.columns == ("norm", "channels")
    assert table.rows == [("bn0", "0"), ("bn1", "2"), ("bn2", "4")]
    assert table.common == (
        *(("class", "BatchNorm2d"), ("calls", "1"), ("state", "folded"), ("remark", "into x")),
    )
    (few,) = tables_of(Contents("t", norms=rows[:2]))
    assert few.columns == ("norm", "class", "channels", "calls", "state", "remark")
    assert few.common == ()


def test_a_part_with_which_all_remarks_end_stands_once_too() -> None:
    remarks = ("2 do not divide; use Keep(); CHANGES ALL: train", "CHANGES ALL: train")
    rows = [replace(ROW, channels=i, reason=f"{i}; {remarks[0]}") for i in range(3)]
    (table,) = tables_of(Contents("t", norms=tuple(rows)))
    assert table.common[-1] == ("remark", remarks[0])
    assert [row[-1] for row in table.rows] == ["0", "1", "2"]
    rows[0] = replace(ROW, reason=remarks[1])
    (table,) = tables_of(Contents("t", norms=tuple(rows)))
    assert table.common[-1] == ("remark", remarks[1])
    assert [row[-1] for row in table.rows] == [
        *("", "1; 2 do not divide; use Keep()", "2; 2 do not divide; use Keep()"),
    ]


def test_a_column_without_content_is_left_out() -> None:
    (table,) = tables_of(Contents("t", statistics=(OFF,)))
    assert "remark" not in table.columns
    assert table.title == "Statistics of 1 norm"


def test_what_is_wrong_is_marked_and_failed_checks_are_open() -> None:
    refused = (ROW, replace(ROW, outcome=REFUSED), replace(ROW, outcome="standing"))
    (norms,) = tables_of(Contents("t", norms=refused))
    assert norms.marked == {1, 2}
    held = Check("case", "output 0", "norm", 1e-7, 1e-6, passed=True)
    (checks,) = tables_of(Contents("t", checks=(held,)))
    assert not checks.is_open
    (checks,) = tables_of(Contents("t", checks=(held, replace(held, passed=False))))
    assert checks.is_open
    assert (checks.title, set(checks.marked)) == ("Checks: 1 of 2 hold", {1})
