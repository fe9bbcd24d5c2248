"""Which findings count: --select and --ignore, ids or the first characters of ids."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bnconvert.reporting.records import Finding


@dataclass(frozen=True)
class Selection:
    """Which findings count, by the first characters of their ids; the longer prefix wins.

    Attributes:
        select: prefixes of the ids that count; none for all.
        ignore: prefixes of the ids that do not.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def counts(self, id: str) -> bool:
        """Tell whether findings with this id count."""
        selected = _longest(self.select, id) if self.select else 0
        return selected is not None and selected > (_longest(self.ignore, id) or -1)

    def of(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """Return the findings that count."""
        return tuple(finding for finding in findings if self.counts(finding.id))


def hidden_note(before: Sequence[Finding], after: Sequence[Finding], by: str) -> tuple[str, ...]:
    """Return a note of the findings that are not shown, if any are, and by what."""
    hidden = Counter(finding.id for finding in before for _ in finding.paths or ("",))
    hidden.subtract(finding.id for finding in after for _ in finding.paths or ("",))
    ids = [id if count == 1 else f"{id} at {count} places" for id, count in hidden.items() if count]
    return (f"not shown, by {by}: {', '.join(ids)}",) if ids else ()


def _longest(prefixes: Sequence[str], id: str) -> int | None:
    """Return the length of the longest of the prefixes that an id has; None where it has none."""
    return max((len(prefix) for prefix in prefixes if id.startswith(prefix)), default=None)
