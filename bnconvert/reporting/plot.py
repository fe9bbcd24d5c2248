"""Plot a report: how far each norm's running statistics are off, and the scores."""

import importlib
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from bnconvert.errors import ReportError
from bnconvert.numerics.bootstrap import LEVEL
from bnconvert.reporting.records import Contents, ScoreInterval, StatisticsRow
from bnconvert.reporting.whole_file import whole_file

_LEAST = 1e-3  # smaller distances are drawn here, on a logarithmic axis
_MOST = 1.0  # the axis reaches at least this far
_COLOURS = {"running": "#ee6677", "batch": "#ccbb44", "precise": "#4477aa"}
_MEAN, _SIGMA, _NOISE = "#4477aa", "#cc7722", "#d8d8d8"
_ROW, _MARGINS, _SCORES_HEIGHT = 0.19, 1.5, 2.2  # inches
_SMALL = 7  # points


def draw(report: Contents, path: Path) -> None:
    """Plot `report` into the file `path`.

    Raises:
        ReportError: there is nothing to plot, no such format, or matplotlib is not installed.
        OutputError: it cannot be written there.
    """
    if not report.statistics:
        raise ReportError(f"{report.title}: no statistics to plot; recompute or diagnose first")
    try:
        figures: Any = importlib.import_module("matplotlib.figure")
    except ImportError as failure:
        raise ReportError(
            f"matplotlib cannot be imported ({failure}); pip install 'bnconvert[plot]'"
        ) from None
    against = tuple(dict.fromkeys(row.against for row in report.statistics))
    paths = tuple(dict.fromkeys(row.path for row in report.statistics))
    heights = [_MARGINS + _ROW * len(paths)] + [_SCORES_HEIGHT] * bool(report.scores)
    width = 2.5 + 4 * max(len(against), len(report.scores))
    figure = figures.Figure(figsize=(width, 0.5 + sum(heights)), layout="constrained")
    formats = figure.canvas.get_supported_filetypes()
    if path.suffix.lower().lstrip(".") not in formats:
        raise ReportError(f"{path}: is not a format of plots; use .png, .svg or .pdf")
    figure.suptitle(report.title)
    below = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    axes = below[0].subplots(1, len(against), squeeze=False, sharex=True, sharey=True)[0]
    for axis, name in zip(axes, against, strict=True):
        _distances(axis, [row for row in report.statistics if row.against == name], name, paths)
    _label(axes[0], paths, report.statistics)
    below[0].legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    if report.scores:
        axes = below[1].subplots(1, len(report.scores), squeeze=False)[0]
        for axis, (name, values) in zip(axes, report.scores.items(), strict=True):
            _scores(axis, name, values, [i for i in report.intervals if i.score == name])
    with whole_file(path) as file:
        figure.savefig(file, dpi=120, format=path.suffix.lower().lstrip("."))


def _distances(
    axis: Any, rows: Sequence[StatisticsRow], against: str, paths: Sequence[str]
) -> None:
    """Draw the distances from one kind of statistics, each row at the height of its path."""
    places = [paths.index(row.path) for row in rows]
    errors = [max(row.standard_error or 0.0, _LEAST) for row in rows]
    axis.barh(places, errors, 0.8, color=_NOISE, label="up to the standard error of the mean")
    for name, mark, colour, values in (
        ("mean off", "o", _MEAN, [row.mean_distance for row in rows]),
        ("sigma off", "D", _SIGMA, [row.deviation_distance for row in rows]),
    ):
        known = [(max(v, _LEAST), p) for v, p in zip(values, places, strict=True) if v is not None]
        # Not clipped, since the smallest distances are drawn on the edge of the axis.
        axis.plot(*zip(*known, strict=True) if known else ([], []), mark, color=colour, label=name,
                  markersize=4.5, clip_on=False, zorder=3)  # fmt: skip
    for place, row in zip(places, rows, strict=True):
        if row.mean_distance is None or row.deviation_distance is None:
            axis.text(_LEAST * 1.3, place, "was not finite", va="center", fontsize=_SMALL)
    axis.grid(color="#eeeeee")
    axis.set_axisbelow(True)
    axis.set_xlabel(f"distance from the {against} statistics, in their sigma")


def _label(axis: Any, paths: Sequence[str], rows: Sequence[StatisticsRow]) -> None:
    """Set the limits and the labels that all distance plots share."""
    farthest = [v for row in rows for v in (row.mean_distance, row.deviation_distance)]
    most = max(_MOST, *(value or 0.0 for value in farthest))
    axis.set(xscale="log", xlim=(_LEAST, 1.3 * most), ylim=(len(paths) - 0.4, -0.6))
    axis.set_yticks(range(len(paths)), labels=paths, fontsize=_SMALL)


def _scores(
    axis: Any, name: str, values: Mapping[str, float], intervals: Sequence[ScoreInterval]
) -> None:
    """Draw a score under each kind of statistics as bars, with its interval where one is known."""
    sizes = [value if isfinite(value) else 0.0 for value in values.values()]
    colours = [_COLOURS.get(kind, _MEAN) for kind in values]
    bars = axis.bar(list(values), sizes, 0.6, color=colours)
    ends = {
        i.statistics: (i.low, i.high) for i in intervals if i.low is not None and i.high is not None
    }
    known = [kind for kind in values if kind in ends and isfinite(values[kind])]
    if known:
        below = [max(values[kind] - ends[kind][0], 0.0) for kind in known]
        above = [max(ends[kind][1] - values[kind], 0.0) for kind in known]
        means = [values[kind] for kind in known]
        axis.errorbar(known, means, [below, above], fmt="none", ecolor="#222222", capsize=4)
        axis.set_title(f"whiskers: {LEVEL:.0%} intervals", fontsize=_SMALL)
    labels = [f"{value:.3g}" if isfinite(value) else "not finite" for value in values.values()]
    axis.bar_label(bars, labels=labels, label_type="center" if known else "edge", padding=2)
    axis.margins(y=0.18)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set(ylabel=name, xlabel="with these statistics")
