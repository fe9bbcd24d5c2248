"""The picture of a report: how far each norm's running statistics are off, and the scores."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnconvert.errors import ReportError
from bnconvert.reporting.records import Contents, StatisticsRow

_LEAST = 1e-3  # what is nearer is drawn here, on a logarithmic axis
_COLOURS = {"mean": "#33669a", "sigma": "#d08030", "running": "#b03a3a"}


def draw(report: Contents, path: Path) -> None:
    """Draw `report` into the file `path`.

    Raises:
        ReportError: there is nothing to draw, or matplotlib is not installed.
    """
    if not report.statistics:
        raise ReportError(f"{report.title}: no statistics to draw; recompute or diagnose first")
    try:
        figures: Any = importlib.import_module("matplotlib.figure")
    except ImportError as failure:
        raise ReportError(
            f"matplotlib cannot be imported ({failure}); pip install 'bnconvert[plot]'"
        ) from None
    against = tuple(dict.fromkeys(row.against for row in report.statistics))
    panels = len(against) + len(report.scores)
    most = max(sum(row.against == name for row in report.statistics) for name in against)
    figure = figures.Figure(figsize=(4.2 * panels + 2, 1.8 + 0.2 * most), layout="constrained")
    figure.suptitle(report.title)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for axis, name in zip(axes, against, strict=False):
        _distances(axis, [row for row in report.statistics if row.against == name], name)
    for axis, (name, values) in zip(axes[len(against) :], report.scores.items(), strict=True):
        _scores(axis, name, values)
    figure.savefig(path, dpi=120)


def _distances(axis: Any, rows: Sequence[StatisticsRow], against: str) -> None:
    places = range(len(rows))
    bars = (
        ("mean", -0.2, [row.mean_distance for row in rows]),
        ("sigma", 0.2, [row.deviation_distance for row in rows]),
    )
    for name, shift, values in bars:
        finite = [_LEAST if v is None else max(v, _LEAST) for v in values]
        axis.barh(
            [p + shift for p in places], finite, 0.4, color=_COLOURS[name], label=f"{name} off"
        )
    errors = [(p, row.standard_error) for p, row in zip(places, rows, strict=True)]
    known = [(p, max(e, _LEAST)) for p, e in errors if e is not None]
    if known:
        axis.plot([e for _, e in known], [p for p, _ in known], "k|", label="standard error")
    for place, row in zip(places, rows, strict=True):
        if row.mean_distance is None or row.deviation_distance is None:
            axis.text(_LEAST * 1.2, place, "was not finite", va="center", fontsize=7)
    axis.set(xscale="log", yticks=list(places), ylim=(len(rows) - 0.4, -0.6), xlim=(_LEAST, None))
    axis.set_yticklabels([row.path for row in rows], fontsize=7)
    axis.set_xlabel(f"distance from the {against} statistics, in their sigma")
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(0, 1.06), ncols=3, frameon=False)


def _scores(axis: Any, name: str, values: Mapping[str, float]) -> None:
    colours = [_COLOURS["running"] if way == "running" else _COLOURS["mean"] for way in values]
    bars = axis.bar(list(values), list(values.values()), color=colours)
    axis.bar_label(bars, fmt="%.3g")
    axis.set(title=f"{name}, by these statistics", ylabel=name)
