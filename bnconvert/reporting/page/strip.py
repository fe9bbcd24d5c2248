"""The strip of a network on a report's page: a cell per norm, colored by its outcome."""

from collections.abc import Sequence
from dataclasses import dataclass

from bnconvert.reporting.page.charts import WIDTH
from bnconvert.reporting.records import NormRow


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
