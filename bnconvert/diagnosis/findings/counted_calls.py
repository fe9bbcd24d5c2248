"""Findings about calls that were counted with example inputs: BN009, BN020, BN022.

torch.fx cannot trace every forward; what it could not count, a forward and a capture did.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from bnconvert.diagnosis.findings.calls import shares_statistics, times
from bnconvert.modules.site import Survey
from bnconvert.reporting.records import Finding, NormRow


def with_counted_calls(
    survey: Survey, findings: Iterable[Finding], rows: Sequence[NormRow]
) -> Iterator[Finding]:
    """Yield findings without those that the example inputs answered, and then those they made.

    Args:
        survey: of the model.
        findings: what the survey says.
        rows: of the norms, with their calls.
    """
    calls = {row.path: row.calls for row in rows}
    uncalled = {row.path for row in rows if row.outcome == "uncalled"}
    for finding in findings:
        uncalled -= set(finding.paths) if finding.id == "BN022" else set()
        if finding.id != "BN020" or finding.paths == survey.scripted:
            yield finding
        elif any(calls[path] is None for path in _inside(finding.paths, calls)):
            fix = "the forward with these inputs did not reach all of it: the notes say why"
            yield replace(finding, fix=fix)
    yield from _shared(survey, calls)
    if uncalled:
        yield Finding(
            "BN022",
            "info",
            tuple(path for path in calls if path in uncalled),
            "never called in eval mode with the example inputs",
            "nothing, if it is used in training only; otherwise remove it",
        )


def _inside(parts: Sequence[str], paths: Iterable[str]) -> list[str]:
    """Return the paths that lie in one of some parts of a model."""
    return [path for path in paths if any(not p or f"{path}.".startswith(f"{p}.") for p in parts)]


def _shared(survey: Survey, calls: Mapping[str, int | None]) -> Iterator[Finding]:
    """Yield the finding about norms that are called several times where no trace saw it."""
    counts = {
        site.path: count
        for site in survey.sites
        if len(site.calls) < 2 and shares_statistics(site, count := calls.get(site.path) or 0)
    }
    if counts:
        yield Finding(
            "BN009",
            "warning",
            tuple(counts),
            f"called {times(counts.values())} in one forward with the example inputs, with one "
            "set of statistics for all calls",
            "use a norm of its own for each call",
        )
