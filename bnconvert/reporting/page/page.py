"""The page: a report's contents in the order in which people read them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from bnconvert.reporting.page import charts
from bnconvert.reporting.page.explanations import Explained, explained
from bnconvert.reporting.page.gains import gain_chart
from bnconvert.reporting.page.score_bars import WIDTH, score_bars
from bnconvert.reporting.page.strip import strip_of
from bnconvert.reporting.page.tables import tables_of
from bnconvert.reporting.paths import collapsed, norm_paths
from bnconvert.reporting.records import Contents, Finding
from bnconvert.reporting.verdict import judgement, with_same_code

_FOLDER = Path(__file__).parent
_PACKAGES = ("bnconvert", "torch", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Shown:
    """A finding of the page.

    Attributes:
        finding: what it is.
        paths: where, in a few words.
        meaning: what the catalogue says of its id, if anything.
        same_as: the id of the finding above whose line of code mends it too; "" for none.
    """

    finding: Finding
    paths: str
    meaning: Explained | None
    same_as: str


def page_of(report: Contents, command: str = "") -> str:
    """Return a report as one HTML page, which needs nothing else and asks no server.

    Args:
        report: what is shown; all its text is escaped.
        command: the command that made it, if one did.
    """
    verdict = judgement(report)
    return _template().render(
        level=verdict.level,
        verdict=verdict.text,
        title=report.title.splitlines()[0],
        command=command,
        date=_now().strftime("%Y-%m-%d %H:%M UTC"),
        versions={name: version(name) for name in _PACKAGES},
        findings=list(_findings(report)),
        strip=strip_of(report),
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
        tables=list(tables_of(report)),
        notes=[note for note in report.notes if note != "no findings"],
        facts={**report.facts, **{f"sha256 of the {k}": v for k, v in report.digests.items()}},
        digests=report.digests,
        size=charts,
        score_width=WIDTH,
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


def _findings(report: Contents) -> Iterator[Shown]:
    """Yield findings, the worst first; a line of code that mends several stands at the first."""
    among = norm_paths(report)
    for found, same_as in with_same_code(report.findings):
        yield Shown(found, collapsed(found.paths, among), explained(found.id), same_as)
