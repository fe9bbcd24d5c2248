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

_FEW = 40  # rows of a table that is open from the beginning
_SEVERAL = 3  # rows, from which on what all have in common is not repeated
_PART = "; "  # between the parts of a remark


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
    """Return a table without the columns that say the same in all rows, and what they say."""
    common: list[tuple[str, str]] = []
    kept = [0]
    for i in range(1, len(columns)):
        values = {row[i] for row in rows}
        if len(rows) < _SEVERAL or len(values) > 1:
            kept += [i] if values != {""} else []
        elif values != {""}:
            common.append((columns[i], values.pop()))
    cells = [tuple(row[i] for i in kept) for row in rows]
    if kept[-1] == len(columns) - 1 > 0 and len(rows) >= _SEVERAL:
        remarks, said = _without_last_parts([row[-1] for row in cells])
        common += [(columns[-1], said)] if said else []
        cells = [(*row[:-1], remark) for row, remark in zip(cells, remarks, strict=True)]
    return Table(title, [columns[i] for i in kept], cells, is_open, note, marked, tuple(common))


def _without_last_parts(remarks: Sequence[str]) -> tuple[list[str], str]:
    """Return remarks without the parts with which all of them end, and those parts."""
    parts = [remark.split(_PART) for remark in remarks]
    shared = 0
    while all(len(own) > shared for own in parts) and len({own[-1 - shared] for own in parts}) == 1:
        shared += 1
    kept = [_PART.join(own[: len(own) - shared]) for own in parts]
    return kept, _PART.join(parts[0][len(parts[0]) - shared :])
