"""The strip of a network on a report's page: a cell per norm, colored by its outcome."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

from bnconvert.reporting.page.charts import WIDTH
from bnconvert.reporting.records import REFUSED, SEVERITIES, Contents, Finding, NormRow

#: The CSS class of what has a color of its own: good, in between, bad, or of no interest.
_COLORS = {
    **{"folded": "good", "standing": "poor", REFUSED: "bad", "uncalled": "quiet", "kept": "quiet"},
    **{"no finding": "quiet", "info": "g0", "warning": "poor", "error": "bad"},
}
_NEUTRAL = ("g0", "g2", "g1", "g3", "g4")  # of rewrites, none of which is better
_MODES = {"training", "eval"}
_NARROW = 200  # cells, from which on the space between them is thinner


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
        counts: of each outcome, its color and how many.
    """

    cells: tuple[Cell, ...]
    counts: dict[str, tuple[str, int]]


def strip_of(report: Contents) -> Strip | None:
    """Return the strip of a network, or None where it would say nothing.

    Norms of which only the mode is known are colored by the worst finding about them.
    """
    rows = report.norms
    outcomes = [row.outcome for row in rows]
    if {*outcomes} <= _MODES:
        outcomes = [_worst(row, report.findings) for row in rows]
        if {*outcomes} <= {"no finding"}:
            return None
    counts = Counter(outcomes)
    neutral = cycle(_NEUTRAL)
    colors = {name: _COLORS.get(name) or next(neutral) for name in counts}
    width, gap = WIDTH / len(rows), 1 if len(rows) < _NARROW else 0.2
    cells = tuple(
        Cell(
            round(i * width, 2),
            round(max(width - gap, 0.5), 2),
            ", ".join(_words(row, outcome)),
            colors[outcome],
        )
        for i, (row, outcome) in enumerate(zip(rows, outcomes, strict=True))
    )
    return Strip(cells, {name: (colors[name], count) for name, count in counts.items()})


def _worst(row: NormRow, findings: Sequence[Finding]) -> str:
    """Return the severity of the worst finding about a norm."""
    found = {finding.severity for finding in findings if finding.id in row.finding_ids}
    return next((severity for severity in SEVERITIES if severity in found), "no finding")


def _words(row: NormRow, outcome: str) -> Iterator[str]:
    yield f"{row.path or '(root)'}: {outcome}"
    if row.finding_ids:
        yield " ".join(row.finding_ids)
    if row.reason:
        yield row.reason
