"""The page: a report's contents in the order in which people read them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from bnconvert.reporting.cells import (
    CHECK_COLUMNS,
    COLUMNS_EXPLAINED,
    NORM_COLUMNS,
    Cells,
    check_cells,
    digest_facts,
    norm_cells,
    norm_statistics_cells,
    summary,
)
from bnconvert.reporting.page import charts
from bnconvert.reporting.page.explanations import explained
from bnconvert.reporting.page.gains import gain_chart
from bnconvert.reporting.page.score_bars import score_bars
from bnconvert.reporting.page.strip import strip_of
from bnconvert.reporting.paths import collapsed, norm_paths
from bnconvert.reporting.records import Contents
from bnconvert.reporting.verdict import by_severity, judgement

_FOLDER = Path(__file__).parent
_PACKAGES = ("bnconvert", "torch", "onnx", "onnxruntime")
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
    """

    title: str
    columns: Sequence[str]
    rows: Cells
    is_open: bool
    note: str = ""
    marked: frozenset[int] = frozenset()


def page_of(report: Contents, command: str = "") -> str:
    """Return a report as one HTML page, which needs nothing else and asks no server.

    Args:
        report: what is shown; all its text is escaped.
        command: the command that made it, if one did.
    """
    verdict = judgement(report)
    among = norm_paths(report)
    return _template().render(
        level=verdict.level,
        verdict=verdict.text,
        title=report.title.splitlines()[0],
        command=command,
        date=_now().strftime("%Y-%m-%d %H:%M UTC"),
        versions={name: version(name) for name in _PACKAGES},
        findings=[
            (found, collapsed(found.paths, among), explained(found.id))
            for found in by_severity(report.findings)
        ],
        strip=strip_of(report.norms),
        plots=[
            chart
            for chart in (
                charts.drift_chart(report.statistics),
                charts.checks_chart(report.checks),
                gain_chart(report.norms),
            )
            if chart is not None
        ],
        scores=score_bars(report),
        tables=list(_tables(report)),
        notes=report.notes,
        facts={**report.facts, **digest_facts(report)},
        digests=report.digests,
        size=charts,
        style=(_FOLDER / "page.css").read_text(encoding="utf-8"),
        script=(_FOLDER / "page.js").read_text(encoding="utf-8"),
    )


def _now() -> datetime:
    """Return the time that a page states: SOURCE_DATE_EPOCH's, where a build is to be repeatable.

    Source: https://reproducible-builds.org/docs/source-date-epoch.
    """
    stated = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(stated), UTC) if stated.isdigit() else datetime.now(UTC)


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _tables(report: Contents) -> list[Table]:
    """Return the tables of a report that have rows."""
    wrong = frozenset(i for i, check in enumerate(report.checks) if not check.passed)
    standing = frozenset(
        i for i, row in enumerate(report.norms) if row.outcome in ("standing", "refused")
    )
    columns, cells = norm_statistics_cells(report.statistics) if report.statistics else ((), [])
    found = [
        Table(
            summary(report.norms),
            NORM_COLUMNS,
            norm_cells(report.norms),
            len(report.norms) <= _FEW,
            marked=standing,
        ),
        Table(
            f"statistics of {len(cells)} norms",
            columns,
            cells,
            len(cells) <= _FEW,
            COLUMNS_EXPLAINED,
        ),
        Table(
            f"checks: {len(report.checks) - len(wrong)} of {len(report.checks)} hold",
            CHECK_COLUMNS,
            check_cells(report.checks),
            bool(wrong),
            marked=wrong,
        ),
    ]
    return [table for table in found if table.rows]
