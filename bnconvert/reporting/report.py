"""`Report`: the result of a command, to be printed, saved and plotted."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

from bnconvert.reporting.frame import Rows, frame_of
from bnconvert.reporting.records import Check, Contents
from bnconvert.reporting.rendering import text_of
from bnconvert.reporting.shown import Shown
from bnconvert.reporting.verdict import judgement
from bnconvert.reporting.whole_file import whole_file

SCHEMA_VERSION = 1


@dataclass(frozen=True, repr=False)
class Report(Shown, Contents):
    """A result for people (`str`; a notebook shows tables), for programs (`to_dict`) and for files.

    Examples:
        >>> report = bnc.inspect(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))
        >>> print(report)
        Sequential: batch normalization
        <BLANKLINE>
        norm  class        channels  calls  state     remark
        1     BatchNorm1d         4      1  training  eps=1e-05, momentum=0.1, untrained statistics
        <BLANKLINE>
        1 norm: 1 training
        <BLANKLINE>
        BN114 info: 1: untrained: the statistics are still mean 0 and variance 1, ...
        >>> report
        <Report OK: Sequential: batch normalization, ... (1 norm: 1 training)>
        >>> report.ok
        True
        >>> report.to_json("report.json")
    """

    @property
    def ok(self) -> bool:
        """Whether no finding is an error, no norm refused, and a file that was compared agrees."""
        return judgement(self).level != "FAIL"

    def count(self, outcome: str) -> int:
        """Return how many norms have this outcome.

        Examples:
            >>> bnc.inspect(nn.Sequential(nn.BatchNorm1d(4), nn.ReLU())).count("training")
            1
        """
        return Counter(row.outcome for row in self.norms)[outcome]

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that do not hold."""
        return tuple(check for check in self.checks if not check.passed)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, with the schema's and the packages' versions.

        Examples:
            >>> bnc.inspect(nn.BatchNorm1d(4)).to_dict()["norms"][0]["channels"]
            4
        """
        packages = ("bnconvert", "torch", "onnx", "onnxruntime")
        return {
            "schema_version": SCHEMA_VERSION,
            "versions": {name: version(name) for name in packages},
            **_plain(asdict(self)),
        }

    def to_frame(self, rows: Rows | None = None) -> Any:
        """Return rows as a pandas DataFrame, a column for each of their attributes.

        Args:
            rows: which ones; by default the first of "norms", "statistics", "findings" and
                "checks" of which there are any.

        Raises:
            ReportError: pandas is not installed.

        Examples:
            >>> bnc.inspect(nn.BatchNorm1d(4)).to_frame("norms")[["path", "channels"]].shape
            (1, 2)
        """
        return frame_of(self, rows)

    def to_json(self, path: str | Path) -> None:
        """Write `to_dict()` as JSON.

        Raises:
            OutputError: it cannot be written there.

        Examples:
            >>> bnc.inspect(nn.BatchNorm1d(4)).to_json("report.json")
        """
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        _write(Path(path), text + "\n")

    def to_html(self, path: str | Path, *, command: str = "") -> None:
        """Write the report as one HTML page: the verdict, charts, findings, tables to sort.

        The page needs no other file and asks no server. It is light or dark as the browser is.

        Args:
            path: the file.
            command: the command that made the report, to be shown in its head.

        Raises:
            OutputError: it cannot be written there.

        Examples:
            >>> bnc.inspect(nn.BatchNorm1d(4)).to_html("report.html")
        """
        from bnconvert.reporting.page.page import page_of

        _write(Path(path), page_of(self, command))

    def plot(self, path: str | Path) -> None:
        """Plot how far the running statistics are off, and the scores if there are any.

        Args:
            path: the file; its suffix is the format (.png, .svg, .pdf).

        Raises:
            ReportError: there is nothing to plot, or matplotlib is not installed.
            OutputError: it cannot be written there.

        Examples:
            >>> moved = bnc.recompute_statistics(nn.BatchNorm1d(4), [torch.randn(128, 4)])
            >>> moved.report.plot("statistics.png")
        """
        from bnconvert.reporting.plot import draw

        draw(self, Path(path))

    def __str__(self) -> str:
        """Return the report as text that a person can read."""
        return text_of(self)


def _write(path: Path, text: str) -> None:
    with whole_file(path) as file:
        file.write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    """Return a value without NaN and infinities, which JSON does not have: they become None."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(inner) for inner in value)
    return None if isinstance(value, float) and not isfinite(value) else value
