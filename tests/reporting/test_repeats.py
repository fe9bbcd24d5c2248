from bnconvert.reporting.repeats import without_repeats

COLUMNS = ("norm", "class", "calls", "remark")


def test_what_all_rows_say_is_taken_out_of_them() -> None:
    left = without_repeats(COLUMNS, [(f"bn{i}", "Norm", str(i), "why") for i in range(3)])
    assert left.columns == ("norm", "calls")
    assert left.rows == [("bn0", "0"), ("bn1", "1"), ("bn2", "2")]
    assert left.common == (("class", "Norm"), ("remark", "why"))


def test_two_rows_may_say_the_same_but_an_empty_column_goes() -> None:
    left = without_repeats(COLUMNS, [("a", "Norm", "1", ""), ("b", "Norm", "1", "")])
    assert left.columns == COLUMNS[:-1]
    assert left.common == ()
    assert without_repeats(COLUMNS, []).rows == []


def test_the_parts_with_which_all_remarks_end_are_taken_out() -> None:
    rows = [(f"bn{i}", "", "", f"{i} do not divide; use Keep(); CHANGES") for i in range(3)]
    left = without_repeats(COLUMNS, rows)
    assert left.common == (("remark", "use Keep(); CHANGES"),)
    assert [row[-1] for row in left.rows] == [f"{i} do not divide" for i in range(3)]
    left = without_repeats(COLUMNS, [*rows, ("bn3", "", "", "CHANGES")])
    assert left.common == (("remark", "CHANGES"),)
    assert left.rows[-1] == ("bn3", "")
