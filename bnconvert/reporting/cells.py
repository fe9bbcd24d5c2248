"""The cells of a report's tables as text, for whatever shows them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite

from bnconvert.reporting.records import Check, NormRow, StatisticsRow

NORM_COLUMNS = ("norm", "class", "channels", "calls", "state", "remark")
CHECK_COLUMNS = ("case", "measure", "error", "allowed", "verdict")
STATISTICS_COLUMNS = (
    "norm",
    "class",
    "channels",
    "against",
    "samples",
    "mean off",
    "sigma off",
    "error",
    "enough",
    "remark",
)
COLUMNS_EXPLAINED = (
    "mean off: |old - new| in the new sigma; sigma off: |old / new - 1|; error: standard error of "
    "the new mean in sigma, by images; enough: samples for an error of 0.03"
)
Cells = list[tuple[str, ...]]


def summary(rows: Sequence[NormRow]) -> str:
    """Return how many norms had which outcome."""
    counts = Counter(row.outcome for row in rows)
    outcomes = ", ".join(f"{n} {outcome}" for outcome, n in counts.items())
    return f"{len(rows)} norm{'s' * (len(rows) != 1)}: {outcomes}"


def norm_cells(rows: Sequence[NormRow]) -> Cells:
    """Return a row of cells for each row of a norm, under `NORM_COLUMNS`."""
    return [
        (
            " = ".join(path or "(root)" for path in (row.path, *row.aliases)),
            row.class_name,
            str(row.channels),
            "?" if row.calls is None else str(row.calls),
            row.outcome,
            row.reason,
        )
        for row in rows
    ]


def statistics_cells(rows: Sequence[StatisticsRow]) -> Cells:
    """Return a row of cells for each set of statistics, under `STATISTICS_COLUMNS`."""
    return [
        (
            row.path,
            row.class_name,
            str(row.channels),
            row.against,
            str(row.samples),
            _distance(row.mean_distance),
            _distance(row.deviation_distance),
            "?" if row.standard_error is None else f"{row.standard_error:.3f}",
            "?" if row.enough_samples is None else str(row.enough_samples),
            row.remark,
        )
        for row in rows
    ]


def norm_statistics_cells(rows: Sequence[StatisticsRow]) -> tuple[tuple[str, ...], Cells]:
    """Return columns, and one row of cells for each norm, whatever it was compared with."""
    kinds = list(dict.fromkeys(row.against for row in rows))
    of_norm: dict[str, dict[str, StatisticsRow]] = {}
    for row in rows:
        of_norm.setdefault(row.path, {})[row.against] = row
    others = [f"{kind} {what}" for kind in kinds[1:] for what in ("mean", "sigma")]
    columns = ("norm", "channels", "samples", "mean off", "sigma off", *others)
    cells = []
    for path, found in of_norm.items():
        first = next(iter(found.values()))
        distances = [
            _distance(value)
            for kind in kinds
            for value in (
                (found[kind].mean_distance, found[kind].deviation_distance)
                if kind in found
                else ("", "")
            )
        ]
        (*_, error, enough, remark) = statistics_cells([first])[0]
        figures = (str(first.channels), str(first.samples), *distances, error, enough, remark)
        cells.append((path or "(root)", *figures))
    return (*columns, "error", "enough", "remark"), cells


def score_cells(scores: Mapping[str, Mapping[str, float]]) -> tuple[tuple[str, ...], Cells]:
    """Return columns, and a row of cells for each score."""
    kinds = tuple(next(iter(scores.values())))
    rows = [(name, *(_score(by_kind[k]) for k in kinds)) for name, by_kind in scores.items()]
    return ("with these statistics", *kinds), rows


def _score(value: float) -> str:
    return f"{value:.4g}" if isfinite(value) else "not finite"


def _distance(value: float | str | None) -> str:
    if isinstance(value, str):  # nothing was compared
        return value
    return "not finite" if value is None else f"{value:.3f}"


def check_cells(checks: Sequence[Check]) -> Cells:
    """Return a row of cells for each check, under `CHECK_COLUMNS`."""
    return [
        (
            f"{check.case}, {check.output}",
            check.measure,
            f"{check.error:.1e}",
            f"{check.allowed:.1e}",
            ("ok" if check.passed else "FAILED") + (f": {check.detail}" if check.detail else ""),
        )
        for check in checks
    ]
