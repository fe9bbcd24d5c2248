"""Findings that need data: BN103, BN201, BN202; each fix is one line of code."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bnconvert.diagnosis.findings.code_lines import RECOMPUTE
from bnconvert.diagnosis.scores import Scores, is_worse
from bnconvert.reporting.intervals import within
from bnconvert.reporting.records import Finding, ScoreInterval, StatisticsRow
from bnconvert.reporting.verdict import STALE, farthest

#: Fewer samples say too little about whether statistics are stale.
SAMPLES = 64
#: Distances like those of `STALE`, from which on the weight of the initial values is reported.
_NOTICEABLE = (0.05, 0.05)
_ERRORS = 4.0  # a distance of more standard errors than these is not chance
_INITIAL = 0.01  # a smaller weight of the initial values is not reported


@dataclass(frozen=True)
class Measurements:
    """The figures that a diagnosis measured.

    Attributes:
        rows: the running statistics against the precise ones.
        initial_weights: by path, the weight that the initial values still have in the average.
        scores: by name ("loss", "metric"), then by the statistics that normalized ("running",
            "batch", "precise"): the scores of the batches.
        intervals: how certain their means are.
        changes: by path, how much the running statistics of this norm alone change the output, the
            largest first.
    """

    rows: Sequence[StatisticsRow]
    initial_weights: Mapping[str, float]
    scores: Mapping[str, Mapping[str, Scores]]
    intervals: tuple[ScoreInterval, ...] = ()
    changes: Mapping[str, float] = field(default_factory=dict)


def measured_findings(measured: Measurements) -> Iterator[Finding]:
    """Yield the findings that follow from the measurements."""
    stale = [row for row in measured.rows if is_stale(row)]
    noticeable = [row.path for row in measured.rows if is_stale(row, _NOTICEABLE)]
    initial = [path for path in noticeable if measured.initial_weights.get(path, 0) > _INITIAL]
    if initial:
        weight = max(measured.initial_weights[path] for path in initial)
        message = f"the initial mean 0 and variance 1 are still {weight:.0%} of the average"
        yield Finding("BN103", "warning", tuple(initial), message, RECOMPUTE, RECOMPUTE)
    if stale:
        worst = farthest(tuple(stale))[0]
        message = f"the running statistics are not those of the data: {_describe(worst)}"
        paths = tuple(row.path for row in stale)
        yield Finding("BN201", "error", paths, message, RECOMPUTE, RECOMPUTE)
    if any(is_worse(by["running"], by["precise"]) for by in measured.scores.values()):
        yield Finding(
            "BN202",
            "error",
            tuple(row.path for row in measured.rows),
            f"false overfitting: {_describe_scores(measured.intervals)} statistics, on the same "
            "data; the running statistics break what the weights have learned",
            RECOMPUTE,
            RECOMPUTE,
        )

    if measured.changes:
        yield _most_influential(measured.changes)


def is_stale(row: StatisticsRow, limits: tuple[float, float] = STALE) -> bool:
    """Tell whether statistics are farther from the precise ones than noise explains.

    Args:
        row: the distances.
        limits: for the mean and for sigma, where the noise is smaller.
    """
    if row.samples < SAMPLES:
        return False
    if row.mean_distance is None or row.deviation_distance is None:
        return True
    noise = _ERRORS * (row.standard_error or 0.0)
    distances = (row.mean_distance, row.deviation_distance)
    return any(d > max(limit, noise) for d, limit in zip(distances, limits, strict=True))


def _describe(row: StatisticsRow) -> str:
    """Describe in words how far a norm's running statistics are off."""
    if row.mean_distance is None or row.deviation_distance is None:
        return f"those of {row.path} are not finite"
    return (
        f"at {row.path} the mean is off by {row.mean_distance:.2g} sigma and sigma by "
        f"{row.deviation_distance:.0%}"
    )


def _most_influential(changes: Mapping[str, float]) -> Finding:
    """Return the finding that says which norms' statistics matter most."""
    said = ", ".join(f"{change:.0%} at {path}" for path, change in [*changes.items()][:3])
    message = (
        "which running statistics matter most: those of one norm alone, with precise ones in all "
        f"others, change the output by {said}"
    )
    return Finding("BN210", "info", tuple(changes), message, RECOMPUTE, RECOMPUTE)


def _describe_scores(intervals: Sequence[ScoreInterval]) -> str:
    """Name the scores with each kind of statistics, and their intervals where they are known."""
    names = dict.fromkeys(interval.score for interval in intervals)
    return "; ".join(
        f"{name} "
        + ", ".join(
            f"{interval.mean:.4g}{within(interval)} with {interval.statistics}"
            for interval in intervals
            if interval.score == name and " - " not in interval.statistics
        )
        for name in names
    )
