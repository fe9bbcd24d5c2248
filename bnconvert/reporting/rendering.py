"""Render a report as text for a terminal and as HTML for a browser."""

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite

from bnconvert.reporting.intervals import intervals_text
from bnconvert.reporting.records import Check, Contents, NormRow, StatisticsRow
from bnconvert.reporting.table import listed, table

_NORM_COLUMNS = ("norm", "class", "channels", "calls", "state", "remark")
_CHECK_COLUMNS = ("case", "measure", "error", "allowed", "verdict")
_STATISTICS_COLUMNS = (
    "norm",
    "class",
    "channels",
    "against",
    "samples",
    "mean off",
    "sigma off",
    "error",
    "enough",
    "remark",
)
_COLUMNS_EXPLAINED = (
    "mean off: |old - new| in the new sigma; sigma off: |old / new - 1|; error: standard error of "
    "the new mean in sigma, by images; enough: samples for an error of 0.03"
)
_Rows = list[tuple[str, ...]]


def text_of(report: Contents) -> str:
    """Return the report as text."""
    parts = [report.title]
    if report.norms:
        parts += [table(_NORM_COLUMNS, _norm_rows(report.norms)), summary(report.norms)]
    if report.statistics:
        parts += _statistics_text(report.statistics)
    if report.scores:
        parts.append(table(*_scores(report.scores)))
        parts += intervals_text(report.intervals)
    if report.checks:
        parts.append(table(_CHECK_COLUMNS, _check_rows(report.checks)))
    parts += [
        f"{f.id} {f.severity}: {_abbreviated(f.paths)}: {f.message}; {f.fix}"
        for f in report.findings
    ]
    parts += [f"note: {note}" for note in report.notes]
    if report.facts:
        width = max(map(len, report.facts))
        parts.append("\n".join(f"{name:<{width}}  {v}" for name, v in report.facts.items()))
    return "\n\n".join(part for part in parts if part)


def html_of(report: Contents) -> str:
    """Return the report as one self-contained HTML page."""
    body = [f"<h1>{html.escape(report.title)}</h1>"]
    if report.norms:
        body.append(f"<p>{html.escape(summary(report.norms))}</p>")
        body.append(_html_table(_NORM_COLUMNS, _norm_rows(report.norms)))
    if report.statistics:
        body.append(_html_table(_STATISTICS_COLUMNS, _statistics_rows(report.statistics)))
        body.append(f"<p>{html.escape(_COLUMNS_EXPLAINED)}</p>")
    if report.scores:
        body.append(_html_table(*_scores(report.scores)))
        body += [f"<p>{html.escape(line)}</p>" for line in intervals_text(report.intervals)]
    if report.checks:
        body.append(_html_table(_CHECK_COLUMNS, _check_rows(report.checks)))
    if report.findings:
        columns = ("finding", "severity", "where", "fact", "next step")
        rows = [(f.id, f.severity, ", ".join(f.paths), f.message, f.fix) for f in report.findings]
        body.append(_html_table(columns, rows))
    body += [f"<p>{html.escape(note)}</p>" for note in report.notes]
    if report.facts:
        body.append(
            _html_table(("figure", "value"), [(k, str(v)) for k, v in report.facts.items()])
        )
    style = (
        "body{font:15px/1.4 system-ui;margin:2em;max-width:75em}"
        "table{border-collapse:collapse;margin:1em 0}"
        "td,th{text-align:left;padding:.2em .8em;border-bottom:1px solid #ddd;vertical-align:top}"
    )
    title = html.escape(report.title.splitlines()[0])
    head = f"<meta charset='utf-8'><title>{title}</title><style>{style}</style>"
    return f"<!doctype html><html><head>{head}</head><body>{''.join(body)}</body></html>\n"


def summary(rows: Sequence[NormRow]) -> str:
    """Return how many norms had which outcome."""
    counts = Counter(row.outcome for row in rows)
    outcomes = ", ".join(f"{n} {outcome}" for outcome, n in counts.items())
    return f"{len(rows)} norm{'s' * (len(rows) != 1)}: {outcomes}"


def _norm_rows(rows: Sequence[NormRow]) -> _Rows:
    return [
        (
            " = ".join(path or "(root)" for path in (row.path, *row.aliases)),
            row.class_name,
            str(row.channels),
            "?" if row.calls is None else str(row.calls),
            row.outcome,
            row.reason,
        )
        for row in rows
    ]


def _statistics_rows(rows: Sequence[StatisticsRow]) -> _Rows:
    return [
        (
            row.path,
            row.class_name,
            str(row.channels),
            row.against,
            str(row.samples),
            _distance(row.mean_distance),
            _distance(row.deviation_distance),
            "?" if row.standard_error is None else f"{row.standard_error:.3f}",
            "?" if row.enough_samples is None else str(row.enough_samples),
            row.remark,
        )
        for row in rows
    ]


def _statistics_text(rows: Sequence[StatisticsRow]) -> list[str]:
    """Return the table and what its columns mean; a column that is equal in all rows is a note."""
    against = {row.against for row in rows}
    common = f"against {against.pop()} statistics; " if len(against) == 1 else ""
    hidden = {"class"} | ({"against"} if common else set())
    kept = [i for i, name in enumerate(_STATISTICS_COLUMNS) if name not in hidden]
    columns = [_STATISTICS_COLUMNS[i] for i in kept]
    lines = [[row[i] for i in kept] for row in _statistics_rows(rows)]
    return [table(columns, lines), common + _COLUMNS_EXPLAINED]


def _scores(scores: Mapping[str, Mapping[str, float]]) -> tuple[tuple[str, ...], _Rows]:
    kinds = tuple(next(iter(scores.values())))
    rows = [(name, *(_score(by_kind[k]) for k in kinds)) for name, by_kind in scores.items()]
    return ("with these statistics", *kinds), rows


def _score(value: float) -> str:
    return f"{value:.4g}" if isfinite(value) else "not finite"


def _distance(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3f}"


def _check_rows(checks: Sequence[Check]) -> _Rows:
    return [
        (
            f"{check.case}, {check.output}",
            check.measure,
            f"{check.error:.1e}",
            f"{check.allowed:.1e}",
            ("ok" if check.passed else "FAILED") + (f": {check.detail}" if check.detail else ""),
        )
        for check in checks
    ]


def _abbreviated(paths: Sequence[str]) -> str:
    return listed([path or "(root)" for path in paths])


def _html_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    lines = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
