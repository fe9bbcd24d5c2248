"""Render a report as Markdown, as GitHub shows it: for summaries, comments and documents."""

import html
from collections.abc import Iterator, Sequence

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
from bnconvert.reporting.paths import collapsed, norm_paths
from bnconvert.reporting.records import Contents, Finding
from bnconvert.reporting.verdict import by_severity, judgement

_FINDING_COLUMNS = ("severity", "finding", "where", "what to do")


def markdown_of(report: Contents) -> str:
    """Return the report as Markdown: verdict, findings, scores; the rows are folded up."""
    return "\n\n".join(_sections(report)) + "\n"


def _sections(report: Contents) -> Iterator[str]:
    verdict = judgement(report)
    yield f"**{verdict.level}** {_escaped(verdict.text)}"
    if report.findings:
        places = norm_paths(report)
        rows = [_finding_cells(found, places) for found in by_severity(report.findings)]
        yield _table(_FINDING_COLUMNS, rows)
    if report.scores:
        columns, cells = score_cells(report.scores)
        yield _table(columns, _all_escaped(cells))
        yield from map(_escaped, intervals_text(report.intervals))
    if report.notes:
        yield "\n".join(f"- {_escaped(note)}" for note in report.notes)
    if report.norms:
        rows = _all_escaped(norm_cells(report.norms))
        yield _folded_up(summary(report.norms), _table(NORM_COLUMNS, rows))
    if report.statistics:
        rows = _all_escaped(statistics_cells(report.statistics))
        table = _table(STATISTICS_COLUMNS, rows) + f"\n\n{_escaped(COLUMNS_EXPLAINED)}"
        yield _folded_up(f"running statistics ({len(rows)} rows)", table)
    if report.checks:
        rows = _all_escaped(check_cells(report.checks))
        yield _folded_up(f"checks ({len(rows)})", _table(CHECK_COLUMNS, rows))
    if report.facts:
        facts = [(name, str(value)) for name, value in report.facts.items()]
        yield _folded_up("figures", _table(("figure", "value"), _all_escaped(facts)))


def _finding_cells(found: Finding, places: Sequence[str]) -> tuple[str, ...]:
    what = _code(found.code) if found.code else _escaped(found.fix)
    said = f"{found.id}: {_escaped(found.message)}"
    return found.severity, said, _code(collapsed(found.paths, places)), what


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of cells that are Markdown already."""
    lines = (columns, ["---"] * len(columns), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _folded_up(title: str, content: str) -> str:
    title = html.escape(" ".join(title.split()))
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"


def _all_escaped(rows: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    return [tuple(map(_escaped, row)) for row in rows]


def _escaped(text: str) -> str:
    r"""Return a text that Markdown shows as it is, also in a cell of a table."""
    text = html.escape(" ".join(text.split()), quote=False)
    return "".join(
        f"\\{character}" if character in "\\`*_[]|~" else character for character in text
    )


def _code(text: str) -> str:
    """Return a text as code; a bar would end the cell."""
    text = " ".join(text.split()).replace("|", "\\|")
    fence = "``" if "`" in text else "`"
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"
