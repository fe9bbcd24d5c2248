import re
from dataclasses import replace

from bnconvert.reporting.notebook import notebook_html_of
from bnconvert.reporting.records import Check, Contents, Finding, NormRow, StatisticsRow

EVIL = "<script>alert('x')</script>"
FOUND = Finding("BN201", "error", ("a.bn",), "the fact", "in words", "model.a.eval()")
ROW = NormRow("a.bn", "BatchNorm2d", 8, 1, "folded", "into x")
OFF = StatisticsRow("a.bn", "BatchNorm2d", 8, 64, 1.2346, 0.5, 0.01, 8, "precise")


def test_the_verdict_comes_first_then_findings_then_what_is_known() -> None:
    html = notebook_html_of(
        Contents(
            "t", findings=(FOUND,), norms=(ROW,), scores={"loss": {"running": 2.5}},
            notes=("so", "no findings"), facts={"size": 3},
        )
    )  # fmt: skip
    parts = ("FAIL</b> <b>t, 1 error", "<b>BN201</b>", "in words<br><code>model.a.eval()</code>",
             ">2.5<", "<p>so</p>", "<summary>1 norm: 1 folded</summary>", "Figures: 1")  # fmt: skip
    places = [html.index(part) for part in parts]
    assert places == sorted(places)
    assert "<p>no findings</p>" not in html
    assert notebook_html_of(Contents("just this")).count("<") == 6


def test_a_line_of_code_stands_once_and_a_norm_has_one_row() -> None:
    again = replace(FOUND, id="BN210", severity="info")
    rows = (OFF, replace(OFF, against="batch"))
    html = notebook_html_of(Contents("t", findings=(FOUND, again), statistics=rows))
    assert html.count("model.a.eval()") == 1
    assert "the line of BN201" in html
    assert html.count("1.235") == 2
    assert "<summary>Statistics of 1 norm</summary>" in html
    assert "mean off: |old - new| in the new sigma" in html


def test_many_rows_are_folded_up() -> None:
    rows = tuple(replace(ROW, path=f"bn{i}", channels=i) for i in range(60))
    html = notebook_html_of(Contents("t", norms=rows))
    assert "<details><summary>60 norms" in html
    assert "<p>in all rows: class BatchNorm2d; calls 1; state folded; remark into x</p>" in html


def test_text_of_a_model_is_escaped_everywhere() -> None:
    html = notebook_html_of(
        Contents(
            EVIL,
            norms=(NormRow(EVIL, EVIL, 1, 1, EVIL, EVIL),) * 3,
            statistics=(replace(OFF, path=EVIL, remark=EVIL),),
            scores={EVIL: {"running": 1.0}},
            findings=(Finding(EVIL, "error", (EVIL,), EVIL, EVIL, EVIL + "()"),) * 2,
            checks=(Check(EVIL, EVIL, EVIL, 1.0, 2.0, passed=True, detail=EVIL),),
            facts={EVIL: EVIL},
            notes=(EVIL,),
        )
    )
    assert EVIL not in html
    assert html.count("alert(") == len(re.findall("&lt;script&gt;alert", html))
