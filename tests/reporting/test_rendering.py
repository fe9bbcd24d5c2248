from dataclasses import replace

import pytest

from bnconvert.reporting.records import Check, Contents, Finding, NormRow, StatisticsRow
from bnconvert.reporting.rendering import text_of


def test_empty_contents_are_a_title() -> None:
    assert text_of(Contents("just this")) == "just this"


def test_many_paths_are_cut_short() -> None:
    finding = Finding("BN1", "info", ("a", "b", "", "d", "e"), "fact", "fix")
    assert "a, b, (root) and 2 more: fact; fix" in text_of(Contents("t", findings=(finding,)))


def test_the_line_of_code_stands_beside_the_words_where_it_says_more() -> None:
    finding = Finding("BN1", "info", ("a",), "fact", "in words", "model.a.eval()")
    text = text_of(Contents("t", findings=(finding,)))
    assert text.endswith("a: fact; in words; run: model.a.eval()")
    finding = replace(finding, fix=finding.code)
    assert text_of(Contents("t", findings=(finding,))).endswith("a: fact; model.a.eval()")


def test_unknown_calls_are_a_question_mark() -> None:
    unknown = NormRow("bn", "BatchNorm2d", 8, None, "training")
    assert text_of(Contents("t", norms=(unknown,))).splitlines()[3].split() == [
        "bn",
        "BatchNorm2d",
        "8",
        "?",
        "training",
    ]


def test_a_verdict_is_said_in_words() -> None:
    checks = (Check("a", "y", "norm", 1e-7, 1e-6, True), Check("b", "y", "norm", 1.0, 1e-6, False))
    text = text_of(Contents("t", checks=checks))
    assert text.count("ok") == 1
    assert text.count("FAILED") == 1


MOVED = StatisticsRow("a.bn", "BatchNorm2d", 8, 64, 1.23456, 0.5, 0.0213, 32, "layerwise")
UNSURE = StatisticsRow("b.bn", "BatchNorm2d", 8, 1, None, None, None, None, "layerwise", "shared")
SCORES = {
    "loss": {"running": 2.34567, "batch": 0.5, "precise": 0.25},
    "metric": {"running": float("nan"), "batch": float("inf"), "precise": 0.0},
}


def test_statistics_are_rows_with_what_their_columns_mean() -> None:
    text = text_of(Contents("t", statistics=(MOVED,)))
    assert text.splitlines()[3].split() == [
        *("a.bn", "8", "64"),
        *("1.235", "0.500", "0.021", "32"),
    ]
    assert "against layerwise statistics; mean off: |old - new| in the new sigma" in text


def test_statistics_of_several_kinds_say_in_each_row_of_which() -> None:
    rows = tuple(replace(MOVED, against=kind) for kind in ("precise", "batch"))
    lines = text_of(Contents("t", statistics=rows)).splitlines()
    assert [line.split()[2] for line in lines[2:5]] == ["against", "precise", "batch"]


def test_usual_names_of_norms_stay_whole_in_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    row = replace(MOVED, path="layer4.0.downsample.1", channels=2048, samples=50000)
    assert "\nlayer4.0.downsample.1  " in text_of(Contents("t", statistics=(row,)))


def test_what_is_not_known_of_statistics_is_no_number() -> None:
    line = text_of(Contents("t", statistics=(MOVED, UNSURE))).splitlines()[4]
    assert line.count("not finite") == 2
    assert line.count("?") == 2
    assert line.endswith("shared")


def test_scores_stand_by_the_statistics_that_normalized() -> None:
    lines = text_of(Contents("t", scores=SCORES)).splitlines()[2:]
    assert lines[0].split()[-3:] == ["running", "batch", "precise"]
    assert lines[1].split() == ["loss", "2.346", "0.5", "0.25"]
    assert lines[2].split() == ["metric", "not", "finite", "not", "finite", "0"]
