"""The bars of scores on a report's page, each with its interval."""

from dataclasses import dataclass
from math import isfinite

from bnconvert.reporting.records import Contents

#: How far the widest bar or interval reaches, in the chart's own units.
WIDTH = 400


@dataclass(frozen=True)
class Bar:
    """A score with its interval, as a horizontal bar.

    Attributes:
        name: what normalized.
        value: the mean as text.
        left: where the bar begins.
        width: how long it is.
        low: where the interval begins; None where there is none.
        high: where it ends.
    """

    name: str
    value: str
    left: float
    width: float
    low: float | None
    high: float | None


def score_bars(report: Contents) -> dict[str, tuple[Bar, ...]]:
    """Return by score a bar for each kind of statistics that normalized, with its interval."""
    known = {(i.score, i.statistics): i for i in report.intervals}
    charts = {}
    for name, by_kind in report.scores.items():
        ends = [v for v in by_kind.values() if isfinite(v)]
        found = [known[name, kind] for kind in by_kind if (name, kind) in known]
        ends += [end for i in found for end in (i.low, i.high) if end is not None]
        low, high = min(0.0, *ends, 0.0), max([*ends, 0.0 if any(ends) else 1.0])
        bars = []
        for kind, value in by_kind.items():
            interval = known.get((name, kind))
            bounds = (None, None) if interval is None else (interval.low, interval.high)
            bars.append(_bar(kind, value, bounds, (low, high)))
        charts[name] = tuple(bars)
    return charts


def _bar(
    name: str,
    value: float,
    bounds: tuple[float | None, float | None],
    scale: tuple[float, float],
) -> Bar:
    """Return the bar of a score; one that is not finite reaches to the edge."""

    def along(score: float) -> float:
        return round(WIDTH * (score - scale[0]) / (scale[1] - scale[0]), 2)

    low, high = bounds
    text = f"{value:.4g}" if isfinite(value) else "not finite"
    if low is not None and high is not None:
        text += f" ({low:.3g} to {high:.3g})"
    ends = sorted((along(0.0), along(value if isfinite(value) else scale[1])))
    return Bar(
        name,
        text,
        ends[0],
        max(round(ends[1] - ends[0], 2), 1.0),
        None if low is None else along(low),
        None if high is None else along(high),
    )
