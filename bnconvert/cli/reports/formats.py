"""The formats of a report: on stdout by --format, in a file by its suffix."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from bnconvert.cli.reports.place import place_of
from bnconvert.cli.reports.report_options import FormatName

if TYPE_CHECKING:
    from bnconvert.reporting.report import Report

_HTML = (".html", ".htm")
_SUFFIXES = {
    ".md": FormatName.markdown,
    ".sarif": FormatName.sarif,
    ".txt": FormatName.text,
}


def formatted(report: "Report", name: FormatName, subject: str) -> str:
    """Return a report in a format.

    Args:
        report: the report.
        name: the format.
        subject: command and model.
    """
    place = place_of(subject.partition(" ")[2])
    if name is FormatName.markdown:
        from bnconvert.reporting.markdown import markdown_of

        return markdown_of(report)
    if name is FormatName.sarif:
        from bnconvert.cli.reports.sarif import sarif_of

        return json.dumps(sarif_of(report, subject, place), indent=2, ensure_ascii=False)
    if name is FormatName.github:
        from bnconvert.cli.reports.annotations import annotations_of

        return annotations_of(report, place)
    if name is FormatName.json:
        return json.dumps(report.to_dict(), indent=2, ensure_ascii=False)
    return str(report)


def save(report: "Report", path: Path | None, subject: str) -> None:
    """Write a report to `path`, if there is one, in the format of its suffix; else as JSON.

    Raises:
        OutputError: it cannot be written there.
    """
    if path is None:
        return
    suffix = path.suffix.lower()
    if suffix in _HTML:
        report.to_html(path, command=f"bnconvert {subject}")
    elif suffix in _SUFFIXES:
        from bnconvert.reporting.whole_file import whole_file

        text = formatted(report, _SUFFIXES[suffix], subject)
        with whole_file(path) as file:
            file.write_text(text.rstrip() + "\n", encoding="utf-8")
    else:
        report.to_json(path)
