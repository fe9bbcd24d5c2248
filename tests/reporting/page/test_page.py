import re
from dataclasses import replace

import pytest

from bnconvert.reporting.page.page import page_of
from bnconvert.reporting.records import Check, Contents, Finding, NormRow, StatisticsRow

EVIL = "<script>alert('x')</script>"
NORMS = tuple(NormRow(f"layer{i}.bn", "BatchNorm2d", 8, 1, "folded", "into x") for i in range(3))
FINDING = Finding("BN202", "error", ("a.bn",), "the fact", "in words", "bnc.do(model)")
OFF = StatisticsRow("a.bn", "BatchNorm2d", 8, 64, 1.0, 0.1, 0.01, 8, "precise")


def test_the_verdict_comes_first_and_how_it_was_made() -> None:
    page = page_of(Contents("Net: agrees", norms=NORMS), "bnconvert fold net.py:factory")
    head = page[page.index("<header") : page.index("</header>")]
    assert 'class="level">OK<' in head
    assert "Net: agrees (3 norms: 3 folded)" in head
    assert "<code>bnconvert fold net.py:factory</code>" in head
    for package in ("bnconvert", "torch", "onnx", "onnxruntime"):
        assert re.search(rf"{package} \d+\.\d+", head)
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", head)


def test_the_head_says_which_weights_and_which_file_and_the_figures_say_it_whole() -> None:
    page = page_of(Contents("t", digests={"weights": "0123456789abcdef" * 4, "file": "f" * 64}))
    head = page[page.index("<header") : page.index("</header>")]
    assert re.search(r'weights <code title="0123\w{60}">0123456789ab</code> · file', head)
    assert f"<dt>sha256 of the file</dt><dd>{'f' * 64}</dd>" in page
    assert "sha256" not in page_of(Contents("t"))


def test_the_date_is_that_of_a_repeatable_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    assert "2001-09-09 01:46 UTC" in page_of(Contents("t"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")  # as if it were not set
    assert "2001-09-09" not in page_of(Contents("t"))


def test_findings_say_fact_place_words_and_the_line_to_run() -> None:
    page = page_of(Contents("t", findings=(FINDING, replace(FINDING, id="BN1", severity="info"))))
    assert page.index("BN202") < page.index("BN1<")  # the worst first
    for text in ("the fact", "a.bn", "<p>in words</p>", "<pre><code>bnc.do(model)</code></pre>"):
        assert text in page
    assert page.count("bnc.do(model)") == 1
    assert "The line of BN202 mends this too." in page
    once = page_of(Contents("t", findings=(replace(FINDING, fix=FINDING.code),)))
    assert once.count("bnc.do(model)") == 1


def test_what_a_finding_means_is_behind_it() -> None:
    page = page_of(Contents("t", findings=(FINDING, replace(FINDING, id="BN999"))))
    assert page.count('<details class="meaning">') == 1  # the catalogue has no BN999
    (meaning,) = re.findall(r'<details class="meaning">.*?</details>', page, re.S)
    assert "<summary>False overfitting: rule, reason and source</summary>" in meaning
    assert "<b>Why.</b> The model seems to overfit" in meaning
    assert "<code>bnconvert explain BN202</code>" in meaning


def test_text_of_a_model_is_escaped_everywhere() -> None:
    page = page_of(
        Contents(
            EVIL,
            norms=(NormRow(EVIL, EVIL, 1, 1, EVIL, EVIL, gains=(0.1, 1.0, 2.0)),),
            statistics=(replace(OFF, path=EVIL, remark=EVIL),),
            scores={EVIL: {"running": 1.0, "batch": 1.0, "precise": 1.0}},
            findings=(Finding("BN1", "error", (EVIL,), EVIL, EVIL, EVIL),),
            checks=(Check(EVIL, EVIL, EVIL, 1.0, 2.0, passed=True, detail=EVIL),),
            facts={EVIL: EVIL},
            digests={EVIL: EVIL},
            notes=(EVIL,),
        ),
        EVIL,
    )
    assert EVIL not in page
    assert page.count("alert(") == page.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;")
    assert page.count("<script>") == 1


def test_it_needs_nothing_from_elsewhere() -> None:
    page = page_of(Contents("t", norms=NORMS, statistics=(OFF,), findings=(FINDING,)))
    assert "default-src 'none'" in page
    assert not re.findall(r"(?:src|href)=|url\(|@import|https?://", page)


def test_a_long_table_is_closed_until_it_is_wanted_and_failed_checks_are_open() -> None:
    many = tuple(replace(NORMS[0], path=f"bn{i}") for i in range(60))
    held = Check("case", "output 0", "norm", 1e-7, 1e-6, passed=True)
    closed = page_of(Contents("t", norms=many, checks=(held,)))
    assert "<details open>" not in closed
    opened = page_of(Contents("t", norms=NORMS, checks=(replace(held, passed=False),)))
    assert opened.count("<details open>") == 2
    assert 'class="wrong"' in opened
    assert 'class="level">FAIL<' in opened
