"""A rule: a finding about single norms, and the condition under which it applies to one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bnconvert.modules.site import Site
from bnconvert.reporting.records import Finding, Severity


@dataclass(frozen=True)
class Rule:
    """A finding about single norms, and the condition under which it applies to one.

    Attributes:
        id: stable name, such as "BN009".
        severity: "error", "warning" or "info".
        applies: tells whether it applies to a norm; looks only.
        message: the fact.
        fix: the next step.
    """

    id: str
    severity: Severity
    applies: Callable[[Site], bool]
    message: str
    fix: str


def found_by(rules: Sequence[Rule], sites: Sequence[Site]) -> Iterator[Finding]:
    """Yield one finding for each rule that applies to some of the norms."""
    for rule in rules:
        paths = tuple(site.path for site in sites if rule.applies(site))
        if paths:
            yield Finding(rule.id, rule.severity, paths, rule.message, rule.fix)
