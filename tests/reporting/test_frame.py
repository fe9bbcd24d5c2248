import sys

import pytest

import bnconvert as bnc
from bnconvert.reporting.records import Finding, NormRow
from bnconvert.reporting.report import Report

NORMS = (NormRow("a", "BatchNorm2d", 8, 1, "eval"), NormRow("b", "BatchNorm2d", 4, None, "eval"))
FOUND = (Finding("BN005", "warning", ("a",), "fact", "fix"),)


def test_rows_are_a_frame_with_a_column_for_each_attribute() -> None:
    pytest.importorskip("pandas")
    report = Report("Net", norms=NORMS, findings=FOUND)
    frame = report.to_frame()
    assert [*frame.columns[:3]] == ["path", "class_name", "channels"]
    assert [*frame["channels"]] == [8, 4]
    assert [*report.to_frame("findings")["id"]] == ["BN005"]
    assert [*Report("Net", findings=FOUND).to_frame().columns[:2]] == ["id", "severity"]


def test_no_rows_are_an_empty_frame() -> None:
    pytest.importorskip("pandas")
    assert [*Report("Net").to_frame("checks").columns[:2]] == ["case", "output"]
    assert len(Report("Net").to_frame()) == 0


def test_a_missing_pandas_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(bnc.ReportError, match="pip install pandas"):
        Report("Net", norms=NORMS).to_frame()
