"""A baseline: a file of the findings that are known already, so that only new ones count."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bnconvert.errors import UsageError
from bnconvert.reporting.records import Finding
from bnconvert.reporting.whole_file import whole_file

BASELINE_VERSION = 1
#: By command and model ("inspect net.py:factory"), by id: the paths of the findings.
Known = Mapping[str, Mapping[str, list[str]]]


@dataclass(frozen=True)
class Baseline:
    """The findings that are known already.

    Attributes:
        known: by command and model, by id: the paths that a finding concerned.
    """

    known: Known = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Baseline":
        """Read a file that `write` has written.

        Raises:
            UsageError: there is none, or it is not one.
        """
        if not path.is_file():
            raise UsageError(f"{path}: there is no such baseline; make it with --write-baseline")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["baseline_version"] != BASELINE_VERSION:
                raise KeyError(BASELINE_VERSION)
            return cls({key: dict(ids) for key, ids in content["findings"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as failure:
            raise UsageError(
                f"{path}: is no baseline ({type(failure).__name__}: {failure}); make one with "
                "--write-baseline, at another place"
            ) from None

    def new(self, subject: str, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """Return the findings that are new, each with the paths at which it is new.

        Args:
            subject: command and model.
            findings: those of this run.
        """
        known = self.known.get(subject, {})
        fresh: list[Finding] = []
        for found in findings:
            if found.id in known:
                paths = tuple(path for path in found.paths if path not in known[found.id])
                fresh += [replace(found, paths=paths)] if paths else []
            else:
                fresh.append(found)
        return tuple(fresh)

    def knowing(self, subject: str, findings: Iterable[Finding]) -> "Baseline":
        """Return a baseline that knows these findings of a command and model, and no others."""
        paths: dict[str, set[str]] = {}
        for found in findings:
            paths.setdefault(found.id, set()).update(found.paths)
        ids = {id: sorted(paths[id]) for id in sorted(paths)}
        return Baseline({**self.known, subject: ids})

    def write(self, path: Path) -> None:
        """Write the baseline, in an order that makes small differences small.

        Raises:
            OutputError: it cannot be written there.
        """
        content = {
            "baseline_version": BASELINE_VERSION,
            "findings": dict(sorted(self.known.items())),
        }
        with whole_file(path) as file:
            file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
