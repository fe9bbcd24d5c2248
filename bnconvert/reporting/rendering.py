"""Render a report as text."""

from collections.abc import Sequence

from bnconvert.reporting.cells import (
    CHECK_COLUMNS,
    COLUMNS_EXPLAINED,
    NORM_COLUMNS,
    STATISTICS_COLUMNS,
    check_cells,
    norm_cells,
    score_cells,
    statistics_cells,
    summary,
)
from bnconvert.reporting.intervals import intervals_text
from bnconvert.reporting.records import Contents, Finding, StatisticsRow
from bnconvert.reporting.table import listed, table


def text_of(report: Contents) -> str:
    """Return the report as text."""
    parts = [report.title]
    if report.norms:
        parts += [table(NORM_COLUMNS, norm_cells(report.norms)), summary(report.norms)]
    if report.statistics:
        parts += _statistics_text(report.statistics)
    if report.scores:
        parts.append(table(*score_cells(report.scores)))
        parts += intervals_text(report.intervals)
    if report.checks:
        parts.append(table(CHECK_COLUMNS, check_cells(report.checks)))
    parts += [
        f"{f.id} {f.severity}: {_abbreviated(f.paths)}: {f.message}; {_next_step(f)}"
        for f in report.findings
    ]
    parts += [f"note: {note}" for note in report.notes]
    if report.facts:
        width = max(map(len, report.facts))
        parts.append("\n".join(f"{name:<{width}}  {v}" for name, v in report.facts.items()))
    return "\n\n".join(part for part in parts if part)


def _statistics_text(rows: Sequence[StatisticsRow]) -> list[str]:
    """Return the table and what its columns mean; a column that is equal in all rows is a note."""
    against = {row.against for row in rows}
    common = f"against {against.pop()} statistics; " if len(against) == 1 else ""
    hidden = {"class"} | ({"against"} if common else set())
    kept = [i for i, name in enumerate(STATISTICS_COLUMNS) if name not in hidden]
    columns = [STATISTICS_COLUMNS[i] for i in kept]
    lines = [[row[i] for i in kept] for row in statistics_cells(rows)]
    return [table(columns, lines), common + COLUMNS_EXPLAINED]


def _next_step(found: Finding) -> str:
    """Return what to do: the words, and the line of code where it says more."""
    return found.fix + (f"; run: {found.code}" if found.code not in ("", found.fix) else "")


def _abbreviated(paths: Sequence[str]) -> str:
    return listed([path or "(root)" for path in paths])
