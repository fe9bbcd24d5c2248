from dataclasses import replace

import pytest
import torch

from bnconvert.diagnosis.findings.code_lines import RECOMPUTE
from bnconvert.diagnosis.findings.measured_data import (
    Measurements,
    is_stale,
    measured_findings,
)
from bnconvert.diagnosis.scores import BatchScores, Scores, intervals_of
from bnconvert.reporting.records import StatisticsRow

ROW = StatisticsRow("bn", "BatchNorm2d", 8, 256, 0.02, 0.02, 0.01, 100, "precise")


def scores(*values: float) -> Scores:
    """Return the scores of the samples of one batch."""
    return {0: BatchScores(torch.tensor(values, dtype=torch.float64), len(values))}


def by(running: Scores, precise: Scores) -> dict[str, dict[str, Scores]]:
    return {"loss": {"running": running, "batch": precise, "precise": precise}}


def found(measured: Measurements) -> list[str]:
    return [finding.id for finding in measured_findings(measured)]


def test_statistics_that_fit_are_no_finding() -> None:
    fine = by(scores(*[0.3, 0.31, 0.29] * 4), scores(*[0.3] * 12))
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


def test_false_overfitting_is_named_with_all_three_scores_and_their_intervals() -> None:
    scored = by(scores(*[2.0, 2.2, 2.1] * 4), scores(*[0.2, 0.21, 0.19] * 4))
    measured = Measurements([ROW], {}, scored, intervals_of("loss", scored["loss"]))
    (finding,) = measured_findings(measured)
    assert (finding.id, finding.severity, finding.code) == ("BN202", "error", RECOMPUTE)
    assert finding.message == (
        "false overfitting: loss 2.1 (2.04 to 2.16) with running, 0.2 (0.193 to 0.206) with batch, "
        "0.2 (0.193 to 0.206) with precise statistics, on the same data; the running statistics "
        "break what the weights have learned"
    )


def test_the_norms_that_matter_most_are_ranked() -> None:
    changes = {"b": 0.76, "a": 0.4, "c": 0.1, "d": 0.0}
    (finding,) = measured_findings(Measurements([ROW], {}, {}, (), changes))
    assert (finding.id, finding.severity, finding.paths) == ("BN210", "info", (*"bacd",))
    assert finding.message.endswith("change the output by 76% at b, 40% at a, 10% at c")
    assert finding.code == RECOMPUTE


def test_few_scores_do_not_tell_of_false_overfitting() -> None:
    assert found(Measurements([ROW], {}, by(scores(2.0, 2.2, 2.1), scores(0.2, 0.21, 0.19)))) == []
