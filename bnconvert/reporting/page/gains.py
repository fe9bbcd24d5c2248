"""The chart of gains on a report's page: by what each norm multiplies its channels, by depth."""

from collections.abc import Sequence
from math import ceil, floor, log10

from bnconvert.reporting.page.charts import Chart, Mark, Span, Tick, across, end_of_axis, up
from bnconvert.reporting.records import NormRow

_LOWEST, _HIGHEST = -4, 4  # powers of ten; what is beyond is drawn at the edge
_EQUAL = 1.01  # where all gains are within this factor, there is nothing to see


def gain_chart(rows: Sequence[NormRow]) -> Chart | None:
    """Return the range and median of each norm's gains; None where they are all the same."""
    known = list({row.path: row for row in rows if row.gains}.values())
    if not known:
        return None
    least, most = min(row.gains[0] for row in known), max(row.gains[-1] for row in known)
    if most <= least * _EQUAL:
        return None
    low = min(floor(_power(least)), _HIGHEST - 1)
    high = max(ceil(_power(most)), low + 1)

    def height(gain: float) -> float:
        return up((_power(gain) - low) / (high - low))

    marks, spans = [], []
    for i, row in enumerate(known):
        x, name = across(i, len(known)), _name(row)
        marks.append(Mark(x, height(row.gains[1]), name, "g0"))
        spans.append(Span(x, height(row.gains[-1]), height(row.gains[0]), name))
    step = max(1, (high - low) // 4)
    return Chart(
        "Gain: by what each norm multiplies its channels",
        "|weight| / sqrt(running_var + eps) in eval mode, logarithmic; the dot is the median "
        f"channel, the line reaches from the smallest to the largest{_edges(least, most)}",
        tuple(marks),
        {},
        tuple(
            Tick(height(10.0**power), f"{10.0**power:g}") for power in range(low, high + 1, step)
        ),
        {},
        spans=tuple(spans),
        first=end_of_axis(known[0].path),
        last=end_of_axis(known[-1].path) if len(known) > 1 else "",
    )


def _power(gain: float) -> float:
    return max(_LOWEST, min(_HIGHEST, log10(gain))) if gain > 0 else _LOWEST


def _name(row: NormRow) -> str:
    least, median, most = (f"{gain:.3g}" for gain in row.gains)
    return f"{row.path or '(root)'}: {median}, from {least} to {most}"


def _edges(least: float, most: float) -> str:
    """Return what of the gains is drawn at an edge, in words."""
    below = [f"below {10.0**_LOWEST:g}"] if least < 10.0**_LOWEST else []
    above = [f"above {10.0**_HIGHEST:g}"] if most > 10.0**_HIGHEST else []
    beyond = " and ".join(below + above)
    return f"; what is {beyond} is drawn at the edge" if beyond else ""
