from bnconvert.reporting.markdown import markdown_of
from bnconvert.reporting.records import Check, Contents, Finding, NormRow, StatisticsRow

FOUND = Finding("BN201", "error", ("a.bn", "b.bn"), "off by 3 | 4", "recompute", "f(model)")
WORDS = Finding("BN005", "warning", ("a.bn",), "large", "make it `small`")


def test_findings_are_a_table_the_worst_first_with_the_line_to_run() -> None:
    lines = markdown_of(Contents("Net", findings=(WORDS, FOUND), notes=("so",))).splitlines()
    assert lines == [
        "**FAIL** Net, 1 error, 1 warning; begin with BN201",
        "",
        "| severity | finding | where | what to do |",
        "| --- | --- | --- | --- |",
        "| error | BN201: off by 3 \\| 4 | `a.bn, b.bn` | `f(model)` |",
        "| warning | BN005: large | `a.bn` | make it \\`small\\` |",
        "",
        "- so",
    ]


def test_rows_are_folded_up() -> None:
    report = Contents(
        "Net",
        norms=(NormRow("a.bn", "BatchNorm2d", 8, 1, "folded"),),
        statistics=(StatisticsRow("a.bn", "Net", 8, 64, 0.1, 0.1, 0.01, 32, "precise"),),
        scores={"loss": {"running": 1.5, "precise": 0.5}},
        checks=(Check("a", "y", "norm", 1e-7, 1e-6, True),),
        facts={"size": "3 MB"},
    )
    text = markdown_of(report)
    assert "| loss | 1.5 | 0.5 |" in text
    titles = [line for line in text.splitlines() if line.startswith("<details>")]
    assert [title.partition("<summary>")[2].partition("<")[0] for title in titles] == [
        *("1 norm: 1 folded", "running statistics (1 rows)", "checks (1)", "figures")
    ]
    assert text.count("</details>") == 4


def test_names_cannot_write_markdown_or_html() -> None:
    evil = "<img src=x>|*b*\n`c`"
    rows = (NormRow(evil, evil, 4, 1, evil, evil),)
    text = markdown_of(
        Contents(evil, norms=rows, findings=(Finding("BN1", "info", (evil,), evil, evil),))
    )
    assert "<img" not in text.replace("`` <img src=x>\\|*b* `c` ``", "")
    cells = [line for line in text.splitlines() if line.startswith("| ")]
    assert all("|*b*" not in line.replace("\\|", "") for line in cells)
