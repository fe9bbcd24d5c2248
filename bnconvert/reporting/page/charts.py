"""The charts of a report's page, as coordinates; the template draws them as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from bnconvert.reporting.records import Check, StatisticsRow
from bnconvert.reporting.verdict import STALE

#: The size of a chart in its own units, and the space around what it plots.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 190, 56, 12, 12, 26
_LONGEST = 28  # characters of a path below the chart; two of them fit on a phone
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
class Span:
    """A range with a name, drawn as a line upright."""

    x: float
    top: float
    bottom: float
    name: str


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
        spans: ranges behind the marks.
        first: what is leftmost.
        last: what is rightmost.
        groups: their names, by CSS class.
    """

    title: str
    caption: str
    marks: tuple[Mark, ...]
    lines: dict[str, str]
    ticks: tuple[Tick, ...]
    groups: dict[str, str]
    limit: float | None = None
    spans: tuple[Span, ...] = ()
    first: str = ""
    last: str = ""


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
            x, y = across(i, len(shown)), up(pair[index] / top)
            text = "not finite" if pair[index] >= _FAR else f"{pair[index]:.3g}"
            marks.append(Mark(x, y, f"{row.path or '(root)'}: {what} off by {text}", group))
            points.append(f"{x},{y}")
        lines[group] = " ".join(points)
    return Chart(
        "How far the statistics are off",
        f"against {first} statistics, in sigma; dashed: {STALE[0]}, from which on a mean counts as "
        "stale",
        tuple(marks),
        lines,
        tuple(Tick(up(value / top), f"{value:.2g}") for value in (0.0, top / 2, top)),
        {"g0": "mean", "g1": "sigma"},
        up(STALE[0] / top),
        first=end_of_axis(shown[0].path),
        last=end_of_axis(shown[-1].path) if len(shown) > 1 else "",
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
            across(i, len(checks)),
            up((share - low) / (high - low)),
            f"{check.case}, {check.output}, {check.measure}: {check.error:.1e} of "
            f"{check.allowed:.1e} allowed",
            "good" if check.passed else "bad",
        )
        for i, (check, share) in enumerate(zip(checks, shares, strict=True))
    )
    step = max(1, (high - low) // 4)
    ticks = tuple(
        Tick(up((power - low) / (high - low)), "1" if power == 0 else f"1e{power}")
        for power in range(low, high + 1, step)
    )
    return Chart(
        "Errors as a share of what is allowed",
        "one mark per check, logarithmic; above the dashed line a check fails",
        marks,
        {},
        ticks,
        {"good": "holds", "bad": "fails"},
        up(-low / (high - low)),
    )


def _share(check: Check) -> float:
    """Return the decimal logarithm of error over allowed, within three powers of ten and six."""
    if not isfinite(check.error) or check.allowed <= 0:
        return -3.0 if check.passed else 6.0
    return max(-3.0, min(6.0, log10(max(check.error / check.allowed, 1e-9))))


def end_of_axis(path: str) -> str:
    """Return a path as it stands below an end of the chart, with its last parts at least."""
    return (path or "(root)") if len(path) <= _LONGEST else f"…{path[1 - _LONGEST :]}"


def across(index: int, count: int) -> float:
    """Return how far from the left one of so many marks is."""
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (index + 0.5) / count, 2)


def up(share: float) -> float:
    """Return how far from the top a share of the axis of values is."""
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(max(share, 0), 1), 2)
