"""Print a report for a person: the verdict first, then what is wrong, and what to do about it."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, TextIO

from bnconvert.reporting.cells import (
    CHECK_COLUMNS,
    COLUMNS_EXPLAINED,
    NORM_COLUMNS,
    Cells,
    check_cells,
    norm_cells,
    norm_statistics_cells,
    score_cells,
)
from bnconvert.reporting.intervals import intervals_text
from bnconvert.reporting.paths import collapsed, norm_paths
from bnconvert.reporting.records import Check, Contents, Finding, NormRow, StatisticsRow
from bnconvert.reporting.repeats import without_repeats
from bnconvert.reporting.table import footnoted, table, width_here
from bnconvert.reporting.verdict import by_severity, farthest, judgement, with_same_code

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {
    **{"FAIL": "bold red", "WARN": "bold yellow", "OK": "bold green"},
    **{"error": "bold red", "warning": "bold yellow", "info": "bold cyan"},
}
_FEW = 5  # rows that are printed where not all are
#: Outcomes of norms that need no reader.
_USUAL = ("folded", "training", "eval", "kept")
_NARROW = 80  # characters of a line, below which some columns are left out
_LONG = 30  # characters of a remark that is a footnote there
_OFTEN = 3  # times that a remark stands in a table before it is a footnote elsewhere
_LEFT_OUT = ("class", "values", "fed by", "samples", "batch mean", "batch sigma", "enough")


def print_report(
    report: Contents, *, verbose: bool = False, quiet: bool = False, file: TextIO | None = None
) -> None:
    """Print a report: in colours on a terminal, plain elsewhere and where NO_COLOR is set.

    Args:
        report: the report.
        verbose: print every row, check and figure, not only what is wrong.
        quiet: print the verdict only.
        file: where; stdout by default.
    """
    console = _console(file or sys.stdout)
    verdict = judgement(report)
    _print(console, (verdict.level, _STYLES[verdict.level]), (f"  {verdict.text}", "bold"))
    if quiet:
        return
    among = norm_paths(report)
    for found, same_as in with_same_code(report.findings):
        console.print()
        _print_finding(console, found, among, same_as)
    facts = report.facts if verbose else {}
    for part in (*_tables(report, verbose), *_notes(report), *_facts(facts)):
        console.print()
        for line in part.splitlines():  # tables fit already; sentences are wrapped
            _print(console, (line, ""))
    if report.findings:
        ids = " ".join(dict.fromkeys(found.id for found in by_severity(report.findings)))
        console.print()
        _print(console, (f"what they mean: bnconvert explain {ids}", "dim"))


def _console(file: TextIO) -> "Console":
    from rich.console import Console

    return Console(file=file, width=width_here(), highlight=False, markup=False, emoji=False)


def _print(console: "Console", *spans: tuple[str, str], indent: int = 0) -> None:
    """Print spans of text and style as a paragraph, which is wrapped on a terminal only."""
    from rich.padding import Padding
    from rich.text import Text

    text = Text.assemble(*spans)
    if console.is_terminal and text.cell_len > console.width - indent:
        console.print(Padding(text, (0, 0, 0, indent), expand=False))
    else:
        console.print(Text(" " * indent) + text, soft_wrap=True)


def _print_finding(console: "Console", found: Finding, among: Sequence[str], same_as: str) -> None:
    where = collapsed(found.paths, among)
    severity = (found.severity, _STYLES[found.severity])
    _print(console, severity, (f" {found.id}", "bold"), (f"  {where}", ""))
    _print(console, (found.message, ""), indent=2)
    if found.fix and found.fix != found.code:
        _print(console, ("fix: ", "bold"), (found.fix, ""), indent=2)
    if same_as:
        _print(console, ("run: ", "bold"), (f"the line of {same_as}", ""), indent=2)
    elif found.code:  # not wrapped: it is copied
        console.print(_line("  run: ", found.code), soft_wrap=True)


def _line(title: str, text: str) -> Any:
    from rich.text import Text

    return Text.assemble((title, "bold"), (text, "green"))


def _tables(report: Contents, verbose: bool) -> Iterator[str]:
    """Yield the tables, or of each what is wrong."""
    norms = report.norms if verbose else _unusual(report.norms)
    if norms:
        yield _norms(norms) if verbose else _norms(_grouped(norms, norm_paths(report)))
    if report.scores:
        lines = (table(*score_cells(report.scores)), *intervals_text(report.intervals))
        yield "\n".join(lines)
    if report.statistics and (verbose or report.findings):
        yield from _statistics(report.statistics, verbose)
    failed = [check for check in report.checks if not check.passed]
    checks = report.checks if verbose else sorted(failed, key=_by_excess)[:_FEW]
    if checks:
        more = 0 if verbose else len(failed) - len(checks)
        said = f"\nthe {_FEW} that fail most of {len(failed)}; -v lists all" if more else ""
        yield table(CHECK_COLUMNS, check_cells(checks)) + said


def _unusual(rows: Sequence[NormRow]) -> list[NormRow]:
    return [row for row in rows if row.outcome not in _USUAL]


def _by_excess(check: Check) -> float:
    """Return a key by which the checks that fail most come first."""
    excess = check.error / check.allowed if check.allowed else check.error
    return -excess if isfinite(excess) else -inf


def _grouped(rows: Sequence[NormRow], among: Sequence[str]) -> list[NormRow]:
    """Return rows; where they are many, one for all norms of which the same is said."""
    if len(rows) <= _FEW:
        return list(rows)
    groups: dict[tuple[object, ...], list[NormRow]] = {}
    for row in rows:
        key = (row.class_name, row.channels, row.calls, row.outcome, row.reason, *_details(row))
        groups.setdefault(key, []).append(row)
    return [
        found[0] if len(found) == 1 else replace(found[0], path=_paths(found, among), aliases=())
        for found in groups.values()
    ]


def _paths(rows: Sequence[NormRow], among: Sequence[str]) -> str:
    return collapsed([row.path for row in rows], among)


def _norms(rows: Sequence[NormRow]) -> str:
    """Return a table of norms; remarks that repeat are footnotes."""
    cells = norm_cells(rows)
    whole: Cells = [
        (*cell[:-1], *_details(row), cell[-1]) for row, cell in zip(rows, cells, strict=True)
    ]
    columns = (*NORM_COLUMNS[:-1], "values", "fed by", "findings", NORM_COLUMNS[-1])
    left = without_repeats(columns, whole)
    shown, notes = left.rows, list[str]()
    if left.columns[-1] == columns[-1]:
        remarks = [row[-1] for row in shown]
        narrow = width_here() < _NARROW and max(map(len, remarks)) > _LONG
        remarks, notes = footnoted(remarks, 1 if narrow else _OFTEN)
        shown = [(*row[:-1], remark) for row, remark in zip(shown, remarks, strict=True)]
    if left.common:
        common = ", ".join(f"{name} {text}" for name, text in left.common)
        notes = [*notes, f"in all rows: {common}"]
    return "\n".join((_fitting(left.columns, shown), *notes))


def _details(row: NormRow) -> tuple[str, str, str]:
    """Return what is known of a norm's input, and which findings concern the norm."""
    values = "" if row.values is None else str(row.values)
    return values, ", ".join(row.fed_by), " ".join(row.finding_ids)


def _statistics(rows: Sequence[StatisticsRow], verbose: bool) -> Iterator[str]:
    """Yield a table with one row a norm; those that are most off first, where not all are shown."""
    order = list(dict.fromkeys(row.path for row in (rows if verbose else farthest(tuple(rows)))))
    columns, cells = norm_statistics_cells(sorted(rows, key=lambda row: order.index(row.path)))
    shown = cells if verbose else cells[:_FEW]
    lines = [_fitting(columns, shown)]
    if len(shown) < len(cells):
        lines.append(f"the {_FEW} that are most off of {len(cells)}; -v lists all")
    lines.append(
        f"against {rows[0].against} statistics; {COLUMNS_EXPLAINED}"
        if verbose
        else f"mean off, sigma off: from {rows[0].against} statistics, in their sigma"
    )
    yield "\n".join(lines)


def _fitting(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return a table; a narrow one without the columns that are missed least."""
    narrow = width_here() < _NARROW
    kept = [i for i, name in enumerate(columns) if not (narrow and name in _LEFT_OUT)]
    return table([columns[i] for i in kept], [[row[i] for i in kept] for row in cells])


def _notes(report: Contents) -> Iterator[str]:
    said = [note for note in report.notes if note != "no findings"]
    if said:
        yield "\n".join(f"note: {note}" for note in said)


def _facts(facts: Mapping[str, str | int | float]) -> Iterator[str]:
    width = max(map(len, facts), default=0)
    if facts:
        yield "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())
