"""Explanation: what a finding means, when it is reported, and what to do about it."""

from dataclasses import dataclass

from bnconvert.reporting.records import Severity


@dataclass(frozen=True)
class Explanation:
    """What a finding means; sentences for a person, in Markdown.

    Attributes:
        id: stable name, such as "BN009".
        title: the symptom, in a few words.
        severities: with which it is reported; where there are several, `rule` says which is when.
        reported_by: the commands whose reports hold it.
        rule: the condition, as exactly as the code decides it.
        why: what goes wrong otherwise.
        fix: what to do.
        source: papers, or threads in which people met it; "" where it is this package's own.
    """

    id: str
    title: str
    severities: tuple[Severity, ...]
    reported_by: tuple[str, ...]
    rule: str
    why: str
    fix: str
    source: str = ""

    def to_markdown(self) -> str:
        """Return everything as a section of Markdown whose anchor is the id."""
        severities = " or ".join(self.severities)
        verbs = ", ".join(f"`{verb}`" for verb in self.reported_by)
        parts = (
            f"### {self.id}",
            f"**{self.title}** ({severities}; from {verbs})",
            f"*Rule.* {self.rule}",
            f"*Why.* {self.why}",
            f"*Fix.* {self.fix}",
            *([f"*Source.* {self.source}."] if self.source else []),
        )
        return "\n\n".join(parts) + "\n"
