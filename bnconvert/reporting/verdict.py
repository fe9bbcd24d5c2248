"""The verdict of a report: OK, WARN or FAIL, and one line that says why."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from bnconvert.reporting.cells import summary
from bnconvert.reporting.records import REFUSED, SEVERITIES, Contents, Finding, StatisticsRow

Level = Literal["OK", "WARN", "FAIL"]
#: Statistics are stale from these distances of mean and sigma on, in sigma.
STALE = (0.15, 0.22)


@dataclass(frozen=True)
class Judgement:
    """What a report says in a line.

    Attributes:
        level: "FAIL" on an error, a refused norm or a file that does not agree, "WARN" on a
            warning, else "OK".
        text: the title, the findings and the figures.
    """

    level: Level
    text: str

    def __str__(self) -> str:
        """Return the line."""
        return f"{self.level}  {self.text}"


def judgement(report: Contents) -> Judgement:
    """Return what a report says in a line."""
    counts = Counter(finding.severity for finding in report.findings)
    failed = report.verdict not in ("", "agrees") or not all(c.passed for c in report.checks)
    failed |= any(row.outcome == REFUSED for row in report.norms)
    level: Level = "WARN" if counts["warning"] else "OK"
    level = "FAIL" if counts["error"] or failed else level
    said = ", ".join(f"{n} {s}{'s' * (n != 1)}" for s in SEVERITIES if (n := counts[s]))
    if len(report.findings) > 1:
        said += f"; begin with {by_severity(report.findings)[0].id}"
    if not said and "no findings" in report.notes:
        said = "no findings"
    figures = "; ".join(_figures(report))
    line = f"{report.title}, {said}" if said else report.title
    return Judgement(level, f"{line} ({figures})" if figures else line)


def by_severity(findings: tuple[Finding, ...]) -> list[Finding]:
    """Return findings, the worst first."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def with_same_code(findings: tuple[Finding, ...]) -> Iterator[tuple[Finding, str]]:
    """Yield findings, the worst first, each with the id of the first that has the same code.

    The id is "" for that one itself, and for a finding without code.
    """
    first: dict[str, str] = {}
    for found in by_severity(findings):
        earlier = first.setdefault(found.code, found.id) if found.code else found.id
        yield found, earlier if earlier != found.id else ""


def farthest(rows: tuple[StatisticsRow, ...]) -> list[StatisticsRow]:
    """Return rows of statistics, those that are most off first; what is not finite is so most."""

    def distance(row: StatisticsRow) -> float:
        found = (row.mean_distance, row.deviation_distance)
        return max(float("inf") if value is None else value for value in found)

    return sorted(rows, key=distance, reverse=True)


def _figures(report: Contents) -> Iterator[str]:
    if report.norms:
        yield summary(report.norms)
    if report.statistics:
        worst = farthest(report.statistics)[0]
        off = "is not finite"
        if worst.mean_distance is not None and worst.deviation_distance is not None:
            off = f"by {worst.mean_distance:.2f} sigma, its sigma by {worst.deviation_distance:.0%}"
        yield f"most off: the mean of {worst.path or '(root)'} {off}"
    if report.checks:
        held = sum(check.passed for check in report.checks)
        yield f"{held} of {len(report.checks)} checks hold"
