import pytest

from bnconvert.reporting.table import footnoted, listed, table


def test_a_column_without_content_is_left_out() -> None:
    text = table(("norm", "remark", "calls"), [("a", "", "1"), ("b", "", "2")])
    assert text.splitlines()[0].split() == ["norm", "calls"]


def test_numbers_lie_right_and_names_left() -> None:
    lines = table(("norm", "channels"), [("1", "8"), ("12", "128")]).splitlines()
    assert lines == ["norm  channels", "1            8", "12         128"]


def test_long_cells_are_wrapped_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = table(("norm", "remark"), [("a", "word " * 40)])
    assert text.count("word") == 40
    assert max(map(len, text.splitlines())) <= 80


def test_there_are_no_colour_codes_and_brackets_stay() -> None:
    text = table(("norm",), [("[bold]a[/bold]",)])
    assert "\x1b" not in text
    assert "[bold]a[/bold]" in text


def test_remarks_that_repeat_become_notes() -> None:
    remarks, notes = footnoted(["x", "y", "x", "", "x", "y"])
    assert remarks == ["(1)", "y", "(1)", "", "(1)", "y"]
    assert notes == ["(1) x"]


def test_three_of_many_names_are_listed() -> None:
    assert listed([]) == ""
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
