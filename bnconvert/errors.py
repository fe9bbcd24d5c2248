"""Every error that bnconvert raises, and `Refusal`: the reason why something is not done.

Each message reads "path: fact; remedy".
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

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
    """Root of all errors of this package.

    Examples:
        >>> issubclass(bnc.RefusedError, bnc.BnconvertError)
        True
    """


class UnsupportedModelError(BnconvertError):
    """The model is not an eager PyTorch module, or lacks what is asked for.

    Examples:
        >>> bnc.plan(nn.DataParallel(nn.BatchNorm2d(8)), bnc.Keep())
        Traceback (most recent call last):
        bnconvert.errors.UnsupportedModelError: the model is wrapped by DataParallel; ...
    """


class LoadError(BnconvertError):
    """The model, weights or data named on the command line cannot be loaded."""


class UsageError(LoadError):
    """A value on the command line is wrong; nothing was loaded."""


class ConventionError(BnconvertError):
    """Another framework's norm cannot be converted: unknown or missing keys, or wrong numbers.

    Examples:
        >>> bnc.conventions.keras({"gamma": [1.0]})
        Traceback (most recent call last):
        bnconvert.errors.ConventionError: keys missing: moving_mean, moving_variance; ...
    """


class StatisticsError(BnconvertError):
    """Running statistics cannot be measured: no norm, no usable data, or a rank is lost.

    Every buffer has the values that it had before.

    Examples:
        >>> bnc.recompute_statistics(nn.BatchNorm1d(4), [])
        Traceback (most recent call last):
        bnconvert.errors.StatisticsError: batches gave no data; give at least one batch ...
    """


class ReportError(BnconvertError):
    """A report cannot be plotted, or no finding has the id that is asked for.

    Examples:
        >>> bnc.inspect(nn.BatchNorm2d(8)).plot("statistics.png")
        Traceback (most recent call last):
        bnconvert.errors.ReportError: ...: no statistics to plot; recompute or diagnose first
    """


class OutputError(BnconvertError):
    """A file cannot be written: no such folder, no permission, a full disk. The old one stays.

    Examples:
        >>> bnc.inspect(nn.BatchNorm2d(8)).to_json("missing/report.json")
        Traceback (most recent call last):
        bnconvert.errors.OutputError: missing/report.json: there is no folder missing; make it first
    """


class PolicyError(BnconvertError):
    """A policy is wrong: an unknown name, a bad argument, or a rule that matches no norm.

    Examples:
        >>> bnc.plan(nn.Sequential(nn.BatchNorm2d(8)), bnc.Policy({"head.*": bnc.Frozen()}))
        Traceback (most recent call last):
        bnconvert.errors.PolicyError: rule 'head.*': matches none of 1 norms; write paths like '0'
    """


class RefusedError(BnconvertError):
    """A policy is refused: some norms have no legal rewrite; nothing has been changed.

    Attributes:
        refusals: one "path: fact; remedy" sentence per refused norm, all of them.

    Examples:
        >>> bnc.convert(nn.BatchNorm2d(6), bnc.Group(4))
        Traceback (most recent call last):
        bnconvert.errors.RefusedError: 1 norm is refused; ... use Group(3) or Keep()
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

    Examples:
        >>> bnc.fold(nn.BatchNorm2d(8), (torch.randn(2, 5, 4, 4),))  # 5 channels, not 8
        Traceback (most recent call last):
        bnconvert.errors.CaptureError: BatchNorm2d: does not run on the example inputs ...
    """


class FoldedTrainingError(BnconvertError):
    """A folded model was asked to train.

    Examples:
        >>> bnc.fold(nn.BatchNorm2d(8).eval(), (torch.randn(2, 8, 4, 4),)).module.train()
        Traceback (most recent call last):
        bnconvert.errors.FoldedTrainingError: a folded model is for inference: ...
    """

    def __init__(self) -> None:
        """State the reason, which holds for every folded model."""
        super().__init__(
            "a folded model is for inference: folding re-parameterizes the weights, so that their "
            "gradients, and with them every step of an optimizer, differ from the model's own; "
            "fine-tune the unfolded model and fold it again, or put norms back by bnconvert.restore"
        )


class ExportError(BnconvertError):
    """The ONNX file cannot be written, checked or run.

    Examples:
        >>> bnc.verify(nn.BatchNorm2d(8), "missing.onnx", (torch.randn(2, 8, 4, 4),))
        Traceback (most recent call last):
        bnconvert.errors.ExportError: missing.onnx: there is no such file; export the model first
    """


class _UnprovenFileError(BnconvertError):
    """What both errors about a compared file hold."""

    _head: ClassVar[str]
    _file: ClassVar[str]

    def __init__(
        self,
        sentences: Sequence[str],
        report: Any,
        path: Path | None = None,
        bundle: Path | None = None,
        command: str = "",
    ) -> None:
        """Collect every sentence into one message, and say where the file is."""
        self._sentences = tuple(sentences)
        self.report = report  # Any: errors.py lies below the reports
        self.path = path
        self.bundle = bundle
        kept = [] if path is None else [f"the {self._file} is kept as {path}"]
        if bundle is not None:
            kept.append(f"its inputs and all figures are in {bundle}; to compare again: {command}")
        super().__init__("\n  ".join((self._head, *self._sentences, *kept)))


class InconclusiveError(_UnprovenFileError):
    """It cannot be judged whether an ONNX file computes the model's function.

    Nothing differs, but the comparison proves too little: outputs that are empty, not finite, noise
    or the same whatever the input, or weights that move nothing that was compared.

    Attributes:
        report: the `Report`; its error findings say what is not proven, and what would help.
        path: where `export` has kept the file; None from `verify`, which moves no file.
        bundle: the archive with the inputs and figures, or None.

    Examples:
        >>> bnc.export(nn.Threshold(1e9, 0.0), (torch.randn(2, 4),), "model.onnx")  # always 0
        Traceback (most recent call last):
        bnconvert.errors.InconclusiveError: it cannot be judged whether the file computes ...
    """

    _head = "it cannot be judged whether the file computes the model's function"
    _file = "file"

    reasons = property(lambda self: self._sentences, doc="A sentence for each open question.")


class VerificationError(_UnprovenFileError):
    """An ONNX file does not compute the model's function.

    Attributes:
        report: the `Report` with every figure that was measured.
        path: where `export` has kept the failing file; None from `verify`, which moves no file.
        bundle: the archive with the inputs and figures, or None.

    Examples:
        >>> one, other, x = nn.Linear(4, 4), nn.Linear(4, 4), torch.randn(8, 4)
        >>> report = bnc.export(one, (x,), "model.onnx")
        >>> bnc.verify(other, "model.onnx", (x,))
        Traceback (most recent call last):
        bnconvert.errors.VerificationError: the numbers disagree ...
    """

    _head = "the numbers disagree"
    _file = "failing file"

    failures = property(lambda self: self._sentences, doc="A sentence for each cause and check.")
