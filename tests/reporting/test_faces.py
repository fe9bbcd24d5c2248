from bnconvert.reporting.faces import html_of, summary, text_of
from bnconvert.reporting.records import Check, Contents, Finding, NormRow


def row(outcome: str) -> NormRow:
    return NormRow("bn", "BatchNorm2d", 8, 1, outcome)


def test_a_summary_counts_in_the_order_of_first_appearance() -> None:
    rows = [row("folded"), row("standing"), row("folded")]
    assert summary(rows) == "3 norms: 2 folded, 1 standing"


def test_empty_contents_are_a_title() -> None:
    assert text_of(Contents("just this")) == "just this"
    assert "<table>" not in html_of(Contents("just this"))


def test_many_paths_are_cut_short() -> None:
    finding = Finding("BN1", "info", ("a", "b", "", "d", "e"), "fact", "fix")
    assert "a, b, (root) and 2 more: fact; fix" in text_of(Contents("t", findings=(finding,)))


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
