"""Every error that bnconvert raises, and `Refusal`: the reason why something is not done.

Each message reads "path: fact; remedy".
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_REASON_LENGTH = 160


@dataclass(frozen=True)
class Refusal:
    """The reason why something is not done; returned, not raised.

    Attributes:
        code: stable, in lower case with hyphens, such as "weight-overflows"; code that depends on
            the reason uses this, never the text.
        text: the fact, for a person.
        remedy: what to do about it; "" where there is nothing.
    """

    code: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return the reason as "fact; remedy"."""
        return f"{self.text}; {self.remedy}" if self.remedy else self.text


def first_line(failure: BaseException) -> str:
    """Return the kind and the first line of an exception, as a reason in a report."""
    lines = str(failure).strip().splitlines()
    if not lines:
        return type(failure).__name__
    sentence = textwrap.shorten(lines[0], _REASON_LENGTH, placeholder=" …")
    return f"{type(failure).__name__}: {sentence}"


class BnconvertError(Exception):
    """Root of all errors of this package."""


class UnsupportedModelError(BnconvertError):
    """The model is not an eager PyTorch module, or lacks what is asked for."""


class LoadError(BnconvertError):
    """The model, weights or data named on the command line cannot be loaded."""


class UsageError(LoadError):
    """A value on the command line is wrong; nothing was loaded."""


class ConventionError(BnconvertError):
    """Another framework's norm cannot be converted: unknown or missing keys, or wrong numbers."""


class StatisticsError(BnconvertError):
    """Running statistics cannot be measured: no norm, no usable data, or a rank is lost.

    Every buffer has the values that it had before.
    """


class ReportError(BnconvertError):
    """A report cannot be plotted."""


class OutputError(BnconvertError):
    """A file cannot be written: no such folder, no permission, a full disk. The old one stays."""


class PolicyError(BnconvertError):
    """A policy is wrong: an unknown name, a bad argument, or a rule that matches no norm."""


class RefusedError(BnconvertError):
    """A policy is refused: some norms have no legal rewrite; nothing has been changed.

    Attributes:
        refusals: one "path: fact; remedy" sentence per refused norm, all of them.
    """

    def __init__(self, refusals: Sequence[str]) -> None:
        """Collect every refusal into one message."""
        self.refusals = tuple(refusals)
        count = len(self.refusals)
        head = f"{count} {'norm is' if count == 1 else 'norms are'} refused; nothing was changed"
        super().__init__("\n  ".join((head, *self.refusals)))


class CaptureError(BnconvertError):
    """The model cannot be captured as a graph of ATen operators.

    Or a folded one is called with sizes that its graph was not captured for.
    """


class FoldedTrainingError(BnconvertError):
    """A folded model was asked to train."""

    def __init__(self) -> None:
        """State the reason, which holds for every folded model."""
        super().__init__(
            "a folded model is for inference: folding re-parameterizes the weights, so that their "
            "gradients, and with them every step of an optimizer, differ from the model's own; "
            "fine-tune the unfolded model and fold it again"
        )


class ExportError(BnconvertError):
    """The ONNX file cannot be written, checked or run."""


class InconclusiveError(BnconvertError):
    """It cannot be judged whether an ONNX file computes the model's function.

    Nothing differs, but the comparison proves too little: outputs that are empty, not finite or
    the same whatever the input, or weights that move nothing that was compared.

    Attributes:
        report: the `Report`; its error findings say what is not proven, and what would help.
        path: where `export` has kept the file; None from `verify`, which moves no file.
        bundle: the archive with the inputs and figures, or None.
    """

    def __init__(
        self,
        reasons: Sequence[str],
        report: Any,
        path: Path | None = None,
        bundle: Path | None = None,
        command: str = "",
    ) -> None:
        """Collect every reason into one message."""
        self.reasons = tuple(reasons)
        self.report = report  # Any: errors.py lies below the reports
        self.path = path
        self.bundle = bundle
        kept = f"\n  the file is kept as {path}" if path is not None else ""
        kept += _replay(bundle, command)
        head = "it cannot be judged whether the file computes the model's function"
        super().__init__("\n  ".join((head, *self.reasons)) + kept)


class VerificationError(BnconvertError):
    """An ONNX file does not compute the model's function.

    Attributes:
        report: the `Report` with every figure that was measured.
        path: where `export` has kept the failing file; None from `verify`, which moves no file.
        bundle: the archive with the inputs and figures, or None.
    """

    def __init__(
        self,
        failures: Sequence[str],
        report: Any,
        path: Path | None = None,
        bundle: Path | None = None,
        command: str = "",
    ) -> None:
        """Collect every failed check into one message."""
        self.failures = tuple(failures)
        self.report = report  # Any: errors.py lies below the reports
        self.path = path
        self.bundle = bundle
        kept = f"\n  the failing file is kept as {path}" if path is not None else ""
        kept += _replay(bundle, command)
        super().__init__("\n  ".join(("the numbers disagree", *self.failures)) + kept)


def _replay(bundle: Path | None, command: str) -> str:
    """Say where the inputs and figures of a comparison are, and how to repeat it."""
    if bundle is None:
        return ""
    return f"\n  its inputs and all figures are in {bundle}; to compare again: {command}"
