"""Findings about how often the forward calls norms: BN009, BN022."""

from collections.abc import Iterable, Iterator

from bnconvert.diagnosis.findings.code_lines import converting
from bnconvert.diagnosis.findings.rule import Rule, found_by
from bnconvert.modules.site import Site, Survey
from bnconvert.norms.separate import Separate
from bnconvert.reporting.records import Finding


def shares_statistics(site: Site, calls: int) -> bool:
    """Tell whether a norm that has so many calls has one set of statistics for them."""
    return calls > 1 and not getattr(site.module, "by_call", False)


def _is_uncalled(site: Site) -> bool:
    """Tell whether the whole forward was seen, and does not use the norm."""
    return site.observed_calls == 0 and not site.used_by


RULES = (
    Rule(
        "BN009",
        "warning",
        lambda site: shares_statistics(site, len(site.calls)),
        lambda sites: (
            f"called {times(len(site.calls) for site in sites)} in one forward, with one set of "
            "statistics for all calls"
        ),
        "use a norm of its own for each call, or one set of statistics for each: "
        'Separate(domains="calls")',
        converting(Separate(domains="calls"), 'bnc.Separate(domains="calls")'),
    ),
    Rule(
        "BN022",
        "warning",
        lambda site: _is_uncalled(site) and site.model.training,
        "never called in training mode: it gets no gradient and no statistics, and "
        "DistributedDataParallel stops at it",
        "remove it, or call it",
    ),
    Rule(
        "BN022",
        "info",
        lambda site: _is_uncalled(site) and not site.model.training,
        "never called in eval mode",
        "nothing, if it is used in training only; otherwise remove it",
    ),
)


def call_findings(survey: Survey) -> Iterator[Finding]:
    """Yield the findings about the calls that were traced."""
    yield from found_by(RULES, survey.sites)


def times(counts: Iterable[int]) -> str:
    """Say how often: `twice or 3 times`."""
    return " or ".join("twice" if count == 2 else f"{count} times" for count in sorted(set(counts)))
