"""A report as a part of a page, which notebooks show: verdict, findings, then tables."""

from collections.abc import Iterator, Sequence
from html import escape

from bnconvert.reporting.cells import score_cells
from bnconvert.reporting.intervals import intervals_text
from bnconvert.reporting.page.tables import Table, tables_of
from bnconvert.reporting.paths import collapsed, norm_paths
from bnconvert.reporting.records import Contents, Finding
from bnconvert.reporting.verdict import judgement, with_same_code

#: Readable on light and on dark notebooks.
_COLORS = {
    **{"OK": "#2e9e63", "WARN": "#b8860b", "FAIL": "#d9434a"},
    **{"info": "#4a86c5", "warning": "#b8860b", "error": "#d9434a"},
}
_LEFT = ' style="text-align:left"'  # notebooks align cells to the right


def notebook_html_of(report: Contents) -> str:
    """Return a report as HTML without a head; all its text is escaped."""
    return "".join(_parts(report))


def _parts(report: Contents) -> Iterator[str]:
    verdict = judgement(report)
    yield f"<p>{_colored(verdict.level)} <b>{escape(verdict.text)}</b></p>"
    among = norm_paths(report)
    if report.findings:
        rows = [_finding(found, same, among) for found, same in with_same_code(report.findings)]
        yield _table(("finding", "where", "fact", "next step"), rows)
    if report.scores:
        columns, cells = score_cells(report.scores)
        yield _table(columns, _escaped(cells))
        yield from (f"<p>{escape(line)}</p>" for line in intervals_text(report.intervals))
    yield from (f"<p>{escape(n)}</p>" for n in report.notes if n != "no findings")
    for table in tables_of(report):
        yield _folded_up(table)
    if report.facts:
        facts = [(name, str(value)) for name, value in report.facts.items()]
        figures = _table(("figure", "value"), _escaped(facts))
        yield f"<details><summary>Figures: {len(facts)}</summary>{figures}</details>"


def _finding(found: Finding, same_as: str, among: Sequence[str]) -> tuple[str, ...]:
    """Return the cells of a finding, as HTML."""
    words = escape(found.fix) if found.fix != found.code else ""
    code = f"the line of {escape(same_as)}" if same_as else f"<code>{escape(found.code)}</code>"
    return (
        f"<b>{escape(found.id)}</b> {_colored(found.severity)}",
        escape(collapsed(found.paths, among)),
        escape(found.message),
        "<br>".join(part for part in (words, code if found.code else "") if part),
    )


def _folded_up(table: Table) -> str:
    """Return a table, which is closed where it is long."""
    common = "; ".join(f"{name} {text}" for name, text in table.common)
    said = f"<p>in all rows: {escape(common)}</p>" if common else ""
    note = f"<p>{escape(table.note)}</p>" if table.note else ""
    opened = " open" if table.is_open else ""
    return (
        f"<details{opened}><summary>{escape(table.title)}</summary>"
        f"{said}{_table(table.columns, _escaped(table.rows))}{note}</details>"
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already."""
    head = "".join(f"<th{_LEFT}>{escape(column)}</th>" for column in columns)
    lines = ("".join(f"<td{_LEFT}>{cell}</td>" for cell in row) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _escaped(rows: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    return [tuple(map(escape, row)) for row in rows]


def _colored(word: str) -> str:
    return f'<b style="color:{_COLORS[word]}">{word}</b>'
