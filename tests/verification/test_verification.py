"""A failure in words: what differs, by how much, and where."""

import math
from typing import Literal

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
        "given inputs, batch 2, y: root mean square error 5.0e-01 of the output, 2.5e-01 allowed",
        "given inputs, batch 2, y: largest error 5.0e-01 of the output, 2.5e-01 allowed",
        "given inputs, batch 2, y: depends on the rest of its batch by 5.0e-01, 2.5e-01 allowed",
    ]


def test_a_detail_stands_in_the_place_of_figures() -> None:
    shapes = Check("given inputs", "y", "norm", math.inf, 0.0, False, "other shapes")
    assert failure_sentences(Report("", checks=(shapes,))) == ["given inputs, y: other shapes"]


def test_the_operator_where_they_diverge_is_named_last() -> None:
    divergence = Finding(DIVERGENCE, "error", ("conv",), "wrong from Conv on", "look at its weight")
    other = Finding("BN405", "warning", ("conv",), "overflows", "scale it")
    report = Report("", checks=(check("norm"),), findings=(other, divergence))
    assert failure_sentences(report)[1:] == ["BN404: wrong from Conv on; look at its weight"]
