from pathlib import Path

from bnconvert.cli.output import command_line
from bnconvert.cli.reports.formats import save
from bnconvert.reporting.records import Finding, NormRow
from bnconvert.reporting.report import Report


def test_a_command_line_can_be_typed_as_it_is() -> None:
    options = {"batch_size": 4, "samples": None, "mean": (0.5, 0.0, 1.0), "data": "images:my dir"}
    line = command_line("recompute", "a.py:f", **options)
    assert line == (
        "bnconvert recompute a.py:f --batch-size 4 --mean 0.5 0.0 1.0 --data 'images:my dir'"
    )


def test_markup_in_names_is_text_in_html(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    rows = (NormRow(evil, evil, 4, 1, evil, evil),)
    finding = Finding("BN101", "error", (evil,), evil, evil)
    report = Report(evil, norms=rows, findings=(finding,), notes=(evil,), facts={evil: evil})
    save(report, tmp_path / "r.html", "inspect net.py:f")
    text = (tmp_path / "r.html").read_text()
    assert evil not in text
    assert text.count("<script") == 1  # the page's own
    assert text.count("&lt;script&gt;") >= 10
