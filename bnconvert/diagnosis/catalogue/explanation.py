"""Explanation: what a finding means, when it is reported, and what to do about it."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from bnconvert.reporting.records import Severity

_WIDTH = 80  # characters of a line of `str`
_INDENT = 4 * " "


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
        example: lines of Python in terms of `bnc`, `nn` and `torch`, the last of which is a report
            that holds the finding; "" where that takes too many.
    """

    id: str
    title: str
    severities: tuple[Severity, ...]
    reported_by: tuple[str, ...]
    rule: str
    why: str
    fix: str
    source: str = ""
    example: str = ""

    def __str__(self) -> str:
        """Return everything as text for a terminal."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        severities, verbs = " or ".join(self.severities), ", ".join(self.reported_by)
        yield f"{self.id}: {self.title}"
        yield f"{severities}; reported by {verbs}"
        for name, text in (("Rule", self.rule), ("Why", self.why), ("Fix", self.fix)):
            yield from ("", name, _wrapped(text))
        if self.source:
            yield from ("", "Source", _wrapped(f"{self.source}."))
        if self.example:
            yield from ("", "Example", textwrap.indent(self.example, _INDENT))

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


def _wrapped(text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
