"""Rows for how reports are presented: selected ids, baselines, pyproject.toml."""

from pathlib import Path

from bnconvert.cli.reports.baseline import Baseline
from bnconvert.cli.reports.settings import project_settings
from bnconvert.cli.values import finding_ids
from bnconvert.reporting.records import Finding
from bnconvert.reporting.report import Report
from tests.remedies.row import Row


def baseline(folder: Path, *, text: str | None = None) -> Baseline:
    """Read a baseline that has a text, or that was written, if it was."""
    if text is not None:
        (folder / "known.json").write_text(text)
    return Baseline.read(folder / "known.json")


def written(folder: Path, name: str) -> Path:
    """Write a baseline."""
    found = Finding("BN005", "warning", ("bn",), "fact", "fix")
    Baseline().knowing("inspect net.py:factory", [found]).write(folder / name)
    return folder / name


def project(folder: Path, text: str) -> object:
    (folder / "pyproject.toml").write_text(text)
    return project_settings(folder)


REPORTS = (
    Row(
        "cli/reports/baseline.py",
        "there is no such baseline",
        lambda folder: baseline(folder),
        lambda folder: (written(folder, "known.json"), baseline(folder)),
    ),
    Row(
        "cli/reports/baseline.py",
        "is no baseline",
        lambda folder: baseline(folder, text="[]"),
        lambda folder: Baseline.read(written(folder, "new.json")),
    ),
    Row(
        "cli/reports/settings.py",
        "cannot be read",
        lambda folder: project(folder, "= 3"),
        lambda folder: project(folder, "[tool.bnconvert]"),
    ),
    Row(
        "cli/reports/settings.py",
        "is no table",
        lambda folder: project(folder, "tool.bnconvert = 3"),
        lambda folder: project(folder, "[tool.bnconvert]\nfail-on = 'warning'"),
    ),
    Row(
        "cli/reports/settings.py",
        "has no key",
        lambda folder: project(folder, "[tool.bnconvert]\nfail_on = 'error'"),
        lambda folder: project(folder, "[tool.bnconvert]\nfail-on = 'error'"),
    ),
    Row(
        "cli/reports/settings.py",
        "is no text",
        lambda folder: project(folder, "[tool.bnconvert]\nbaseline = 3"),
        lambda folder: project(folder, "[tool.bnconvert]\nbaseline = 'known.json'"),
    ),
    Row(
        "cli/reports/settings.py",
        "select and ignore are lists of ids",
        lambda folder: project(folder, "[tool.bnconvert]\nfail-on = 'loud'"),
        lambda folder: project(folder, "[tool.bnconvert]\nfail-on = 'never'\nselect = ['BN2']"),
    ),
    Row(
        "cli/values.py",
        "no finding has an id that begins so",
        lambda _: finding_ids(["BN2002"]),
        lambda _: finding_ids(["BN202"]),
    ),
    Row(
        "reporting/frame.py",
        "a report has no such rows",
        lambda _: Report("t").to_frame("rows"),  # type: ignore[arg-type]
        lambda _: Report("t").to_frame("norms"),
    ),
)
