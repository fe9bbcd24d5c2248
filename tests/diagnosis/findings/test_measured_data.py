from dataclasses import replace

import pytest

from bnconvert.diagnosis.findings.measured_data import (
    RECOMPUTE,
    Measurements,
    Scores,
    is_stale,
    is_worse,
    measured_findings,
)
from bnconvert.reporting.records import StatisticsRow

ROW = StatisticsRow("bn", "BatchNorm2d", 8, 256, 0.02, 0.02, 0.01, 100, "precise")


def scores(*values: float) -> Scores:
    return {index: (value, 32) for index, value in enumerate(values)}


def by(running: Scores, precise: Scores) -> dict[str, dict[str, Scores]]:
    return {"loss": {"running": running, "batch": precise, "precise": precise}}


def found(measured: Measurements) -> list[str]:
    return [finding.id for finding in measured_findings(measured)]


def test_statistics_that_fit_are_no_finding() -> None:
    fine = by(scores(0.3, 0.31, 0.29), scores(0.3, 0.3, 0.3))
    assert found(Measurements([ROW], {"bn": 0.9}, fine)) == []


@pytest.mark.parametrize(
    ("row", "off"),
    [
        (ROW, False),
        (replace(ROW, mean_distance=0.5), True),
        (replace(ROW, deviation_distance=0.5), True),
        (replace(ROW, mean_distance=None), True),
        (replace(ROW, mean_distance=0.5, standard_error=0.2), False),
        (replace(ROW, mean_distance=0.5, samples=63), False),
        (replace(ROW, mean_distance=0.5, standard_error=None), True),
    ],
)
def test_off_is_what_noise_does_not_explain(row: StatisticsRow, off: bool) -> None:
    assert is_stale(row) is off


def test_stale_statistics_are_named_with_the_worst() -> None:
    rows = [
        ROW,
        replace(ROW, path="a", mean_distance=0.5),
        replace(ROW, path="b", mean_distance=2.0),
    ]
    (finding,) = measured_findings(Measurements(rows, {}, {}))
    assert (finding.id, finding.severity, finding.paths) == ("BN201", "error", ("a", "b"))
    assert finding.message == (
        "the running statistics are not those of the data: at b the mean is off by 2 sigma and "
        "sigma by 2%"
    )
    assert finding.fix == RECOMPUTE
    broken = replace(ROW, mean_distance=None)
    (finding,) = measured_findings(Measurements([broken], {}, {}))
    assert finding.message.endswith("those of bn are not finite")


def test_initial_values_are_named_only_where_they_show() -> None:
    off = replace(ROW, path="young", mean_distance=0.5)
    measured = Measurements([ROW, off], {"bn": 0.3, "young": 0.3}, {})
    first, second = measured_findings(measured)
    assert (first.id, first.paths) == ("BN103", ("young",))
    assert first.message == "the initial mean 0 and variance 1 are still 30% of the average"
    assert second.id == "BN201"
    assert found(Measurements([off], {"young": 0.005}, {})) == ["BN201"]


def test_false_overfitting_is_named_with_all_three_scores() -> None:
    running, precise = scores(2.0, 2.2, 2.1), scores(0.2, 0.21, 0.19)
    (finding,) = measured_findings(Measurements([ROW], {}, by(running, precise)))
    assert (finding.id, finding.severity) == ("BN202", "error")
    assert (
        "false overfitting: loss 2.1 with running, 0.2 with batch, 0.2 with precise"
        in finding.message
    )


@pytest.mark.parametrize(
    ("mine", "theirs", "worse"),
    [
        (scores(1.0, 1.1, 0.9), scores(0.5, 0.5, 0.5), True),
        (scores(0.6, 0.6, 0.6), scores(0.55, 0.55, 0.55), False),  # not by a quarter
        (scores(0.0, 0.03, 0.0, 0.0), scores(0.0, 0.0, 0.0, 0.0), False),  # by chance
        (scores(-1.0, -1.0, -1.0), scores(-1.01, -1.01, -1.01), False),  # log-likelihoods
        (scores(-1.0, -1.0, -1.0), scores(-2.0, -2.0, -2.0), True),
        (scores(1.0), scores(0.4), True),
        (scores(1.0), scores(0.6), False),  # one batch tells nothing of chance
        (scores(float("nan"), 1.0), scores(1.0, 1.0), True),
        (scores(float("nan")), scores(float("nan")), False),
        ({}, {}, False),
        ({0: (5.0, 1)}, {1: (1.0, 1)}, False),  # no batch in common
    ],
)
def test_worse_is_by_a_quarter_and_by_more_than_chance(
    mine: Scores, theirs: Scores, worse: bool
) -> None:
    assert is_worse(mine, theirs) is worse
