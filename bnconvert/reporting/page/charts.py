"""The charts of a report's page, as coordinates; the template draws them as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from bnconvert.reporting.records import Check, Contents, NormRow, StatisticsRow
from bnconvert.reporting.verdict import STALE

#: The size of a chart in its own units, and the space around what it plots.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 190, 56, 12, 12, 26
_FAR = 10.0  # distances beyond so many sigma are drawn at the upper edge


@dataclass(frozen=True)
class Mark:
    """Something with a name at a place.

    Attributes:
        x: from the left.
        y: from the top.
        name: shown on hover.
        group: which color it has, a CSS class.
    """

    x: float
    y: float
    name: str
    group: str


@dataclass(frozen=True)
class Tick:
    """A value on the axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Marks over an axis of values; one line for each group where they are in order.

    Attributes:
        title: what is shown.
        caption: how to read it.
        marks: what is plotted.
        lines: by group, the points of a polyline; empty for bare marks.
        ticks: of the axis of values.
        limit: the height of a dashed line, or None.
        groups: their names, by CSS class.
    """

    title: str
    caption: str
    marks: tuple[Mark, ...]
    lines: dict[str, str]
    ticks: tuple[Tick, ...]
    groups: dict[str, str]
    limit: float | None = None


@dataclass(frozen=True)
class Cell:
    """A norm in the strip of a network."""

    x: float
    width: float
    name: str
    group: str


@dataclass(frozen=True)
class Strip:
    """A network as a row of its norms, each colored by its outcome.

    Attributes:
        cells: one per norm, in the order of the module tree.
        counts: by outcome, how many.
    """

    cells: tuple[Cell, ...]
    counts: dict[str, int]


@dataclass(frozen=True)
class Interval:
    """A score with its interval, as a horizontal bar.

    Attributes:
        name: what normalized.
        value: the mean as text.
        x: where the mean lies.
        low: where the interval begins; None where there is none.
        high: where it ends.
    """

    name: str
    value: str
    x: float
    low: float | None
    high: float | None


def strip_of(rows: Sequence[NormRow]) -> Strip | None:
    """Return the strip of a network, or None where there are no norms."""
    if not rows:
        return None
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.outcome] = counts.get(row.outcome, 0) + 1
    groups = {outcome: f"o{min(index, 5)}" for index, outcome in enumerate(_ordered(counts))}
    width = WIDTH / len(rows)
    cells = tuple(
        Cell(
            round(i * width, 2),
            round(max(width - (1 if len(rows) < 200 else 0.2), 0.5), 2),
            f"{row.path or '(root)'}: {row.outcome}" + (f", {row.reason}" if row.reason else ""),
            groups[row.outcome],
        )
        for i, row in enumerate(rows)
    )
    return Strip(cells, {outcome: counts[outcome] for outcome in groups})


def _ordered(outcomes: dict[str, int]) -> list[str]:
    """Return outcomes with the usual ones first, so that they have the same color on each page."""
    usual = ("folded", "eval", "standing", "training", "uncalled", "refused")
    known = [outcome for outcome in usual if outcome in outcomes]
    return known + sorted(set(outcomes) - set(known))


def drift_chart(rows: Sequence[StatisticsRow]) -> Chart | None:
    """Return how far mean and sigma of each norm are off, by depth; None without rows."""
    if not rows:
        return None
    first = rows[0].against
    shown = [row for row in rows if row.against == first]
    values = [(_far(row.mean_distance), _far(row.deviation_distance)) for row in shown]
    top = max(0.2, *(max(pair) for pair in values))
    marks, lines = [], {}
    for index, (group, what) in enumerate((("g0", "mean"), ("g1", "sigma"))):
        points = []
        for i, (row, pair) in enumerate(zip(shown, values, strict=True)):
            x, y = _across(i, len(shown)), _up(pair[index] / top)
            text = "not finite" if pair[index] >= _FAR else f"{pair[index]:.3g}"
            marks.append(Mark(x, y, f"{row.path or '(root)'}: {what} off by {text}", group))
            points.append(f"{x},{y}")
        lines[group] = " ".join(points)
    return Chart(
        "How far the statistics are off, from the first norm to the last",
        f"against {first} statistics, in sigma; dashed: {STALE[0]}, from which on a mean counts as "
        "stale",
        tuple(marks),
        lines,
        tuple(Tick(_up(value / top), f"{value:.2g}") for value in (0.0, top / 2, top)),
        {"g0": "mean", "g1": "sigma"},
        _up(STALE[0] / top),
    )


def _far(distance: float | None) -> float:
    return _FAR if distance is None or not isfinite(distance) else min(distance, _FAR)


def checks_chart(checks: Sequence[Check]) -> Chart | None:
    """Return each check's error over what is allowed, on a logarithmic axis; None without any."""
    shares = [_share(check) for check in checks]
    if not shares:
        return None
    low, high = min(-1, floor(min(shares))), max(1, ceil(max(shares)))
    marks = tuple(
        Mark(
            _across(i, len(checks)),
            _up((share - low) / (high - low)),
            f"{check.case}, {check.output}, {check.measure}: {check.error:.1e} of "
            f"{check.allowed:.1e} allowed",
            "good" if check.passed else "bad",
        )
        for i, (check, share) in enumerate(zip(checks, shares, strict=True))
    )
    step = max(1, (high - low) // 4)
    ticks = tuple(
        Tick(_up((power - low) / (high - low)), "1" if power == 0 else f"1e{power}")
        for power in range(low, high + 1, step)
    )
    return Chart(
        "Errors as a share of what is allowed",
        "one mark per check, logarithmic; above the dashed line a check fails",
        marks,
        {},
        ticks,
        {"good": "holds", "bad": "fails"},
        _up(-low / (high - low)),
    )


def _share(check: Check) -> float:
    """Return the decimal logarithm of error over allowed, within three powers of ten and six."""
    if not isfinite(check.error) or check.allowed <= 0:
        return -3.0 if check.passed else 6.0
    return max(-3.0, min(6.0, log10(max(check.error / check.allowed, 1e-9))))


def scores_chart(report: Contents) -> dict[str, tuple[Interval, ...]]:
    """Return by score a bar for each kind of statistics that normalized, with its interval."""
    known = {(i.score, i.statistics): i for i in report.intervals}
    charts = {}
    for name, by_kind in report.scores.items():
        ends = [v for v in by_kind.values() if isfinite(v)]
        found = [known[name, kind] for kind in by_kind if (name, kind) in known]
        ends += [end for i in found for end in (i.low, i.high) if end is not None]
        low, high = min(0.0, *ends, 0.0), max([*ends, 1e-9])
        bars = []
        for kind, value in by_kind.items():
            interval = known.get((name, kind))
            text = f"{value:.4g}" if isfinite(value) else "not finite"
            place = value if isfinite(value) else high
            bounds = (None, None) if interval is None else (interval.low, interval.high)
            low_at, high_at = (None if b is None else _along(b, low, high) for b in bounds)
            if None not in bounds:
                text += f"  [{bounds[0]:.4g}, {bounds[1]:.4g}]"
            bars.append(Interval(kind, text, _along(place, low, high), low_at, high_at))
        charts[name] = tuple(bars)
    return charts


def _across(index: int, count: int) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (index + 0.5) / count, 2)


def _up(share: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(max(share, 0), 1), 2)


def _along(value: float, low: float, high: float) -> float:
    return round(100 + (WIDTH - 330) * (value - low) / (high - low), 2)
