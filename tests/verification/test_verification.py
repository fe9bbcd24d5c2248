"""A failure in words: what differs, by how much, and where."""

import math
from typing import Literal

from bnconvert.numerics.distance import MEASURES
from bnconvert.reporting.records import Check, Finding
from bnconvert.reporting.report import Report
from bnconvert.verification.finding_ids import DIVERGENCE
from bnconvert.verification.verification import failure_sentences


def check(
    measure: Literal["norm", "peak", "rows"], *, passed: bool = False, detail: str = ""
) -> Check:
    return Check("given inputs, batch 2", "y", measure, 0.5, 0.25, passed, detail)


def test_every_failure_says_what_differs_and_by_how_much() -> None:
    checks = (check("norm"), check("peak"), check("rows"), check("norm", passed=True))
    assert failure_sentences(Report("", checks=checks)) == [
        "given inputs, batch 2, y: relative root mean square error 5.0e-01, 2.5e-01 allowed",
        "given inputs, batch 2, y: largest relative error 5.0e-01, 2.5e-01 allowed",
        "given inputs, batch 2, y: depends on the rest of its batch by 5.0e-01, 2.5e-01 allowed",
    ]


def test_a_detail_stands_in_the_place_of_figures() -> None:
    shapes = Check("given inputs", "y", "norm", math.inf, 0.0, False, "other shapes")
    assert failure_sentences(Report("", checks=(shapes,))) == ["given inputs, y: other shapes"]


def test_the_operator_where_they_diverge_is_named_first() -> None:
    divergence = Finding(DIVERGENCE, "error", ("conv",), "wrong from Conv on", "look at its weight")
    other = Finding("BN405", "warning", ("conv",), "overflows", "scale it")
    report = Report("", checks=(check("norm"),), findings=(other, divergence))
    assert failure_sentences(report)[:-1] == ["BN404: wrong from Conv on; look at its weight"]


def test_of_many_checks_that_fail_some_are_listed_and_all_counted() -> None:
    failing = [Check(f"batch {size}", "y", "norm", 0.5, 0.25, False) for size in range(6)]
    report = Report("", checks=(*failing, check("norm", passed=True)))
    *listed, count = failure_sentences(report)
    assert [sentence.split(",")[0] for sentence in listed] == ["batch 0", "batch 1", "batch 2"]
    assert count == "6 of 7 checks fail; the report has all of them"
    assert len(failure_sentences(Report("", checks=tuple(failing[:4])))) == 4, "nothing is gained"


def test_what_is_said_of_both_measures_is_said_once() -> None:
    shapes = [
        Check("given inputs", "y", measure, math.inf, 0.0, False, "other shapes")
        for measure in MEASURES
    ]
    assert failure_sentences(Report("", checks=tuple(shapes))) == ["given inputs, y: other shapes"]
