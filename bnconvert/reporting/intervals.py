"""Say how certain scores are, in words."""

from collections.abc import Sequence

from bnconvert.numerics.bootstrap import LEAST_VALUES, LEVEL
from bnconvert.reporting.records import ScoreInterval

_PLURAL = {"sample": "samples", "batch": "batches"}


def intervals_text(intervals: Sequence[ScoreInterval]) -> list[str]:
    """Return a line for each score: its intervals, or that there is too little to judge."""
    names = dict.fromkeys(interval.score for interval in intervals)
    return [_line([i for i in intervals if i.score == name]) for name in names]


def within(interval: ScoreInterval) -> str:
    """Return an interval such as " (1.9 to 2.2)", or "" where it is not known."""
    if interval.low is None or interval.high is None:
        return ""
    return f" ({interval.low:.3g} to {interval.high:.3g})"


def _line(intervals: Sequence[ScoreInterval]) -> str:
    """Return the line of one score."""
    score, unit = intervals[0].score, intervals[0].unit
    least = min(interval.units for interval in intervals)
    if least < LEAST_VALUES:
        remedy = f", or let {score} return one value for each sample" if unit == "batch" else ""
        return (
            f"{score}: too few {_PLURAL[unit]} to judge a difference by ({least} < "
            f"{LEAST_VALUES}); give more{remedy}"
        )
    ends = ", ".join(f"{i.statistics}{within(i) or ' not finite'}" for i in intervals)
    return f"{score}: {LEVEL:.0%} intervals by bootstrap over {least} {_PLURAL[unit]}: {ends}"
