"""The bars of scores on a report's page, each with its interval."""

from dataclasses import dataclass
from math import isfinite

from bnconvert.reporting.page.charts import WIDTH
from bnconvert.reporting.records import Contents


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


def score_bars(report: Contents) -> dict[str, tuple[Interval, ...]]:
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


def _along(value: float, low: float, high: float) -> float:
    return round(100 + (WIDTH - 330) * (value - low) / (high - low), 2)
