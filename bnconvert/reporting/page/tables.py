"""The tables of a report's page; what is the same in all rows is said once, above them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bnconvert.reporting.cells import (
    CHECK_COLUMNS,
    COLUMNS_EXPLAINED,
    NORM_COLUMNS,
    Cells,
    check_cells,
    norm_cells,
    norm_statistics_cells,
    summary,
)
from bnconvert.reporting.records import REFUSED, Contents
from bnconvert.reporting.repeats import without_repeats

_FEW = 40  # rows of a table that is open from the beginning


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        title: what it lists, with how many.
        columns: their names.
        rows: their cells.
        is_open: whether it is shown from the beginning.
        note: a sentence below it.
        marked: which rows are marked as wrong.
        common: what all rows have in common, by column.
    """

    title: str
    columns: Sequence[str]
    rows: Cells
    is_open: bool
    note: str = ""
    marked: frozenset[int] = frozenset()
    common: tuple[tuple[str, str], ...] = ()


def tables_of(report: Contents) -> Iterator[Table]:
    """Yield the tables of a report that have rows."""
    if report.norms:
        wrong = frozenset(
            i for i, row in enumerate(report.norms) if row.outcome in ("standing", REFUSED)
        )
        few, title = len(report.norms) <= _FEW, summary(report.norms)
        yield _table(title, NORM_COLUMNS, norm_cells(report.norms), few, marked=wrong)
    if report.statistics:
        columns, cells = norm_statistics_cells(report.statistics)
        title = f"Statistics of {len(cells)} norm{'s' * (len(cells) != 1)}"
        yield _table(title, columns, cells, len(cells) <= _FEW, COLUMNS_EXPLAINED)
    if report.checks:
        failed = frozenset(i for i, check in enumerate(report.checks) if not check.passed)
        title = f"Checks: {len(report.checks) - len(failed)} of {len(report.checks)} hold"
        cells = check_cells(report.checks)
        yield _table(title, CHECK_COLUMNS, cells, bool(failed), marked=failed)


def _table(
    title: str,
    columns: Sequence[str],
    rows: Cells,
    is_open: bool,
    note: str = "",
    marked: frozenset[int] = frozenset(),
) -> Table:
    """Return a table without what is the same in all rows, and that."""
    left = without_repeats(columns, rows)
    return Table(title, left.columns, left.rows, is_open, note, marked, left.common)
