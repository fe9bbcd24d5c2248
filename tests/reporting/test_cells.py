from dataclasses import replace

from bnconvert.reporting.cells import norm_cells, norm_statistics_cells, score_cells, summary
from bnconvert.reporting.records import NormRow, StatisticsRow

ROW = StatisticsRow("a.bn", "BatchNorm2d", 8, 64, 1.23456, 0.5, 0.0213, 32, "precise")


def test_a_summary_counts_in_the_order_of_first_appearance() -> None:
    outcomes = ("folded", "standing", "folded")
    rows = [NormRow("bn", "BatchNorm2d", 8, 1, outcome) for outcome in outcomes]
    assert summary(rows) == "3 norms: 2 folded, 1 standing"


def test_a_norm_has_all_its_names() -> None:
    (cells,) = norm_cells([NormRow("", "BatchNorm2d", 8, None, "eval", "said", ("b",))])
    assert cells == ("(root) = b", "BatchNorm2d", "8", "?", "eval", "said")


def test_a_norm_that_was_compared_twice_is_one_row() -> None:
    by_batch = replace(ROW, against="batch", mean_distance=None, deviation_distance=0.25)
    other = replace(ROW, path="b.bn", remark="shared")
    columns, cells = norm_statistics_cells([ROW, other, by_batch])
    assert columns[3:7] == ("mean off", "sigma off", "batch mean", "batch sigma")
    assert cells == [
        ("a.bn", "8", "64", "1.235", "0.500", "not finite", "0.250", "0.021", "32", ""),
        ("b.bn", "8", "64", "1.235", "0.500", "", "", "0.021", "32", "shared"),
    ]


def test_scores_that_are_not_finite_are_words() -> None:
    columns, cells = score_cells({"loss": {"running": float("nan"), "batch": 0.25}})
    assert columns == ("with these statistics", "running", "batch")
    assert cells == [("loss", "not finite", "0.25")]
