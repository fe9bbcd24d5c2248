"""Findings as workflow commands, which GitHub Actions shows beside the code."""

from bnconvert.cli.reports.place import Place
from bnconvert.reporting.paths import collapsed, norm_paths
from bnconvert.reporting.records import Contents, Finding
from bnconvert.reporting.verdict import by_severity, judgement

_COMMANDS = {"error": "error", "warning": "warning", "info": "notice"}
#: What would end a message, and what would end a property of it as well.
_IN_MESSAGES = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_IN_PROPERTIES = {**_IN_MESSAGES, ":": "%3A", ",": "%2C"}


def annotations_of(report: Contents, place: Place | None) -> str:
    """Return a line for each finding, and the verdict.

    Args:
        report: the report.
        place: the code that makes the model; None where it comes from a package.
    """
    lines = [_annotation(found, report, place) for found in by_severity(report.findings)]
    return "\n".join((*lines, str(judgement(report))))


def _annotation(found: Finding, report: Contents, place: Place | None) -> str:
    properties = {} if place is None else {"file": place.file, "line": str(place.line)}
    where = collapsed(found.paths, norm_paths(report))
    properties["title"] = f"{found.id} {where}".strip()
    given = ",".join(f"{k}={_escaped(v, _IN_PROPERTIES)}" for k, v in properties.items())
    message = _escaped(f"{found.message}; {found.code or found.fix}", _IN_MESSAGES)
    return f"::{_COMMANDS[found.severity]} {given}::{message}"


def _escaped(text: str, table: dict[str, str]) -> str:
    return "".join(table.get(character, character) for character in text)
