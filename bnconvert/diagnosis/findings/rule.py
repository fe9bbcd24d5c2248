"""A rule: a finding about single norms, and the condition under which it applies to one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bnconvert.modules.site import Site
from bnconvert.reporting.records import Finding, Severity

#: A text, or what writes it from the norms to which the rule applies.
Text = str | Callable[[Sequence[Site]], str]


@dataclass(frozen=True)
class Rule:
    """A finding about single norms, and the condition under which it applies to one.

    Attributes:
        id: stable name, such as "BN009".
        severity: "error", "warning" or "info".
        applies: tells whether it applies to a norm; looks only.
        message: the fact.
        fix: the next step.
        code: one line that does it, or "".
    """

    id: str
    severity: Severity
    applies: Callable[[Site], bool]
    message: Text
    fix: str
    code: Text = ""


def found_by(rules: Sequence[Rule], sites: Sequence[Site]) -> Iterator[Finding]:
    """Yield one finding for each rule that applies to some of the norms."""
    for rule in rules:
        found = [site for site in sites if rule.applies(site)]
        if found:
            paths = tuple(site.path for site in found)
            message, code = (_written(text, found) for text in (rule.message, rule.code))
            yield Finding(rule.id, rule.severity, paths, message, rule.fix, code)


def _written(text: Text, found: Sequence[Site]) -> str:
    return text if isinstance(text, str) else text(found)
