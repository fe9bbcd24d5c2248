"""Findings that need data: BN103, BN201, BN202; each fix is one line of code."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan, sqrt

from bnconvert.reporting.records import Finding, StatisticsRow

#: The fix of wrong statistics; `batches` are the diagnosed ones.
RECOMPUTE = "bnc.recompute_statistics(model, batches)"
#: Fewer samples say too little about whether statistics are stale.
SAMPLES = 64
#: Statistics are stale from these distances of mean and sigma on, in sigma; smaller ones are
#: reported where the initial values still have weight.
_STALE, _NOTICEABLE = (0.15, 0.22), (0.05, 0.05)
_ERRORS = 4.0  # a distance of more standard errors than these is not chance
_INITIAL = 0.01  # a smaller weight of the initial values is not reported
_WORSE, _CERTAIN = 0.25, 3.0  # a score is worse by this share, and by so many standard errors

#: By batch, its score (smaller is better) and its number of samples.
Scores = Mapping[int, tuple[float, int]]


@dataclass(frozen=True)
class Measurements:
    """The figures that a diagnosis measured.

    Attributes:
        rows: the running statistics against the precise ones.
        initial_weights: by path, the weight that the initial values still have in the average.
        scores: by name ("loss", "metric"), then by the statistics that normalized ("running",
            "batch", "precise"): the scores of the batches.
    """

    rows: Sequence[StatisticsRow]
    initial_weights: Mapping[str, float]
    scores: Mapping[str, Mapping[str, Scores]]


def measured_findings(measured: Measurements) -> Iterator[Finding]:
    """Yield the findings that follow from the measurements."""
    stale = [row for row in measured.rows if is_stale(row)]
    noticeable = [row.path for row in measured.rows if is_stale(row, _NOTICEABLE)]
    initial = [path for path in noticeable if measured.initial_weights.get(path, 0) > _INITIAL]
    if initial:
        weight = max(measured.initial_weights[path] for path in initial)
        message = f"the initial mean 0 and variance 1 are still {weight:.0%} of the average"
        yield Finding("BN103", "warning", tuple(initial), message, RECOMPUTE)
    if stale:
        worst = max(stale, key=lambda row: inf if row.mean_distance is None else row.mean_distance)
        message = f"the running statistics are not those of the data: {_describe(worst)}"
        yield Finding("BN201", "error", tuple(row.path for row in stale), message, RECOMPUTE)
    broken = [by for by in measured.scores.values() if is_worse(by["running"], by["precise"])]
    if broken:
        values = "; ".join(
            f"{name} "
            + ", ".join(f"{mean_of(scores):.4g} with {used}" for used, scores in by_used.items())
            for name, by_used in measured.scores.items()
        )
        yield Finding(
            "BN202",
            "error",
            tuple(row.path for row in measured.rows),
            f"false overfitting: {values} statistics, on the same data; the running statistics "
            "break what the weights have learned",
            RECOMPUTE,
        )


def is_stale(row: StatisticsRow, limits: tuple[float, float] = _STALE) -> bool:
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


def is_worse(scores: Scores, others: Scores) -> bool:
    """Tell whether scores are worse than others, by a quarter and by more than chance.

    The batches are compared in pairs: the mean difference must exceed three standard errors. With
    fewer than three batches chance cannot be estimated, and twice the score is required.
    """
    common = sorted(scores.keys() & others.keys())
    if not common:
        return False
    score, other = (mean_of({i: s[i] for i in common}) for s in (scores, others))
    if isnan(score):
        return not isnan(other)
    worse = score - other
    if len(common) < 3:
        return worse > abs(other)
    gaps = [scores[i][0] - others[i][0] for i in common]
    mean = sum(gaps) / len(gaps)
    spread = sqrt(sum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1) / len(gaps))
    return worse > _WORSE * abs(other) and mean > _CERTAIN * spread


def mean_of(scores: Scores) -> float:
    """Return the mean score of a sample; NaN where there is none."""
    samples = sum(count for _, count in scores.values())
    return sum(s * count for s, count in scores.values()) / samples if samples else float("nan")


def _describe(row: StatisticsRow) -> str:
    """Describe in words how far a norm's running statistics are off."""
    if row.mean_distance is None or row.deviation_distance is None:
        return f"those of {row.path} are not finite"
    return (
        f"at {row.path} the mean is off by {row.mean_distance:.2g} sigma and sigma by "
        f"{row.deviation_distance:.0%}"
    )
