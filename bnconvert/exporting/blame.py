"""Who is to blame for a difference: what the file is compared with, an edit, or neither."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from bnconvert.errors import ExportError, Refusal
from bnconvert.exporting.jitter import untrained_norms
from bnconvert.exporting.origin import Origin, is_unedited
from bnconvert.exporting.writing.file_findings import file_findings
from bnconvert.exporting.writing.onnx_contents import OnnxContents
from bnconvert.modules.kinds import norms_in
from bnconvert.reporting.records import Finding
from bnconvert.reporting.report import Report
from bnconvert.reporting.table import listed
from bnconvert.verification.finding_ids import DIVERGENCE, HIDDEN, ORIGIN
from bnconvert.verification.raw_inputs import RawInput

_EDITED = (
    "the file was changed after bnconvert had written it: export again, or check the tool that "
    "changed it"
)
_UNEDITED = (
    "the file is as bnconvert wrote it, from these weights: the model's code, or the versions of "
    "torch or onnxruntime, have changed since; export again"
)
_CHANGED = "the file was changed after bnconvert had written it; what it computes now agrees"
_AS_WRITTEN = (
    "statistics are untrained, or weights zero, which hides what is wrong; but the file is as "
    "bnconvert wrote it, from these weights, and its export proved a copy with other statistics"
)


@dataclass(frozen=True)
class Blame:
    """What a file says of its origin, beside what it is compared with.

    Attributes:
        differences: how the two differ.
        unedited: whether the file is as bnconvert wrote it; None where it does not say.
        hiding: the paths of norms that hide what is wrong upstream of them, or in them.
        digests: of the model and of what the file computes, by name.
        of_file: what is wrong with the file whatever the model is.
    """

    differences: tuple[Refusal, ...]
    unedited: bool | None
    hiding: tuple[str, ...]
    digests: Mapping[str, str] = field(default_factory=dict)
    of_file: tuple[Finding, ...] = ()

    @classmethod
    def of(cls, model: nn.Module, raw: Sequence[RawInput], path: Path) -> "Blame":
        """Read what a file says of its origin."""
        hiding = tuple(_hiding_norms(model))
        try:
            file = OnnxContents.of(path)
        except Exception:
            return cls((), None, hiding)  # a damaged file: ONNX Runtime says how
        found: tuple[Refusal, ...] = ()
        given = Origin.of(model, raw, dynamic_axes=file.input_axes)
        if (origin := Origin.read(file)) is not None:
            found = tuple(origin.differences(given))
        digests = given.digests
        with contextlib.suppress(OSError):  # its weights are not there: ONNX Runtime says which
            digests["file"] = file.digest()
        of_file = tuple(file_findings(file))
        return cls(found, is_unedited(file), hiding, digests, of_file)

    def of_inputs(self, failure: ExportError) -> ExportError:
        """Return the error to raise where a file does not take the inputs."""
        for difference in self.differences:
            if difference.code in ("other-preprocess", "other-axes"):
                return ExportError(f"{failure}; {difference}")
        return failure

    def findings(self, fails: bool) -> Iterator[Finding]:
        """Yield one finding for each difference: an error where the numbers disagree too."""
        for difference in self.differences:
            more = "; and it was changed after it was written" if self.unedited is False else ""
            more += "" if fails else "; what the outputs show of them agrees nevertheless"
            yield Finding(
                ORIGIN,
                "error" if fails else "warning",
                ("(root)",),
                difference.text + more,
                difference.remedy,
            )

    def blaming(self, report: Report) -> Report:
        """Add to the report of a file that differs what it and its origin say, and the digests."""
        findings = (*self.of_file, *report.findings, *self.findings(True))
        return replace(report, findings=findings, digests=self.digests)

    def explained(self, report: Report) -> Report:
        """Add to a report what the file says of itself, its origin about the figures, digests."""
        findings = (*self.of_file, *report.findings)
        report = replace(report, findings=findings, digests=self.digests)
        if report.failures:
            if self.unedited is None:
                return report
            fix = _UNEDITED if self.unedited else _EDITED
            found = (replace(f, fix=fix) if f.id == DIVERGENCE else f for f in report.findings)
            return replace(report, findings=tuple(found))
        notes, more = report.notes, [*self.findings(False)]
        if self.unedited is False and not self.differences:
            notes = (*notes, _CHANGED)
        if self.hiding and self.unedited and not self.differences:
            notes = (*notes, f"{listed(self.hiding)}: {_AS_WRITTEN}")
        elif self.hiding:
            more.append(_hidden(self.hiding))
        return replace(report, findings=(*report.findings, *more), notes=notes)


def _hiding_norms(model: nn.Module) -> Iterator[str]:
    """Yield the paths of norms with untrained statistics, or with weights that are all zero."""
    untrained = untrained_norms(model)
    for path, norm, _ in norms_in(model):
        weight = getattr(norm, "weight", None)
        zero = weight is not None and weight.numel() and not bool(weight.any())
        if zero or any(norm is other for other in untrained):
            yield path or "(root)"


def _hidden(paths: Sequence[str]) -> Finding:
    return Finding(
        HIDDEN,
        "warning",
        tuple(paths),
        f"{len(paths)} norms have statistics that never saw data (mean 0, variance 1) or weights "
        "that are all zero: what is wrong in them, and upstream of zero weights, does not show at "
        "the outputs, so that agreement proves little",
        "verify with trained weights (--weights FILE), or export again: export proves a copy with "
        "other statistics too",
    )
