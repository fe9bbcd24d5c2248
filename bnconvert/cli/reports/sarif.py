"""A report as SARIF 2.1.0, the format in which code scanners exchange findings (OASIS, 2020)."""

import hashlib
import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from bnconvert.cli.reports.place import Place
from bnconvert.diagnosis.catalogue import CATALOGUE
from bnconvert.diagnosis.catalogue.explanation import Explanation
from bnconvert.reporting.paths import collapsed, norm_paths
from bnconvert.reporting.records import Finding, Severity

if TYPE_CHECKING:
    from bnconvert.reporting.report import Report

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}


def sarif_of(report: "Report", subject: str, place: Place | None) -> dict[str, Any]:
    """Return a report as a SARIF log of one run.

    Args:
        report: its findings are the results.
        subject: command and model; tells the runs of a project apart.
        place: the code that makes the model; None where it comes from a package.
    """
    ids = sorted({finding.id for finding in report.findings})
    explanations = [entry for entry in CATALOGUE if entry.id in ids]
    driver = {
        "name": "bnconvert",
        "version": version("bnconvert"),
        "rules": [_rule(entry) for entry in explanations],
    }
    indices = {entry.id: i for i, entry in enumerate(explanations)}
    results = [
        {"ruleIndex": indices[found.id], **_result(found, report, subject, place)}
        for found in report.findings
    ]
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"bnconvert/{subject}/"},
        "invocations": [{"executionSuccessful": True}],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(entry: Explanation) -> dict[str, Any]:
    return {
        "id": entry.id,
        "shortDescription": {"text": f"{entry.title}."},
        "fullDescription": {"text": f"{entry.rule} {entry.why}"},
        "help": {"text": str(entry), "markdown": entry.to_markdown()},
        "defaultConfiguration": {"level": _LEVELS[entry.severities[0]]},
    }


def _result(found: Finding, report: "Report", subject: str, place: Place | None) -> dict[str, Any]:
    among = norm_paths(report)
    where = collapsed(found.paths, among)
    identity = json.dumps([subject, found.id, sorted(found.paths)])
    return {
        "ruleId": found.id,
        "level": _LEVELS[found.severity],
        "message": {"text": f"{where}: {found.message}; {found.fix}".removeprefix(": ")},
        "locations": [dict(_location(found, place))],
        "partialFingerprints": {
            "subjectIdAndPaths/v1": hashlib.sha256(identity.encode()).hexdigest()
        },
    }


def _location(found: Finding, place: Place | None) -> Iterator[tuple[str, Any]]:
    if place is not None:
        region = {"startLine": place.line}
        yield "physicalLocation", {"artifactLocation": {"uri": place.uri}, "region": region}
    names = [path or "(root)" for path in found.paths]
    if names:
        yield (
            "logicalLocations",
            [{"fullyQualifiedName": name, "kind": "member"} for name in dict.fromkeys(names)],
        )
