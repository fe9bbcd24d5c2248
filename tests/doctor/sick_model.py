"""A row of the doctor's table: a model with one finding, and a like one without."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

import bnconvert as bnc
from bnconvert.reporting.records import Finding

#: What is asked to report: "" for `inspect` or `diagnose`.
Verb = Literal["", "fold", "export", "verify"]


def _verify(model: nn.Module, inputs: Any, path: Path) -> bnc.Report:
    return bnc.verify(model, path, inputs)


@dataclass(frozen=True)
class Patient:
    """What a user gives: a model, and what is trained with it.

    Attributes:
        model: the model.
        batches: training data; `diagnose` is asked where `by_data` is set.
        optimizer: of the model.
        loader: of its training data.
        example_inputs: of the model.
        by_data: whether `diagnose` is asked, and not `inspect`.
        further: further arguments of `diagnose`.
        verb: "fold", "export" or "verify" where that is asked.
        file: writes the file that `verify` compares the model with.
    """

    model: nn.Module
    batches: Sequence[Any] = ()
    optimizer: torch.optim.Optimizer | None = None
    loader: Any = None
    example_inputs: Any = None
    by_data: bool = False
    further: dict[str, Any] = field(default_factory=dict)
    verb: Verb = ""
    file: Callable[[nn.Module, Path], None] | None = None

    def findings(self, id: str) -> list[Finding]:
        """Examine the model, and return the findings of one id."""
        if self.verb:
            report = self._deployed()
        elif self.by_data:
            report = bnc.diagnose(self.model, self.batches, **self.further)
        else:
            report = bnc.inspect(
                self.model, self.example_inputs, optimizer=self.optimizer, loader=self.loader
            )
        return [finding for finding in report.findings if finding.id == id]

    def _deployed(self) -> bnc.Report:
        """Fold, export or verify the model; return the report, also of one that fails."""
        if self.verb == "fold":
            return bnc.fold(self.model, self.example_inputs).report
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.onnx"
            if self.file is not None:
                self.file(self.model, path)
            call: Callable[..., bnc.Report] = bnc.export if self.verb == "export" else _verify
            try:
                return call(self.model, self.example_inputs, path)
            except (bnc.VerificationError, bnc.InconclusiveError) as failure:
                report: bnc.Report = failure.report
                return report

    def treated(self, code: str) -> "Patient":
        """Run a finding's line of code, and return what it leaves."""
        names = {
            "bnc": bnc,
            "nn": nn,
            "model": self.model,
            "batches": self.batches,
            "optimizer": self.optimizer,
            "loader": self.loader,
        }
        exec(code, names)
        changed: Any = {key: names[key] for key in ("model", "optimizer", "loader", "batches")}
        return replace(self, **changed)


@dataclass(frozen=True)
class SickModel:
    """One finding: who has it and who has not.

    Attributes:
        id: the finding.
        sick: makes a patient that has it.
        healthy: makes a patient that is like it, but has not.
        code: what the line of code has in it that mends it; "" where a person has to decide.
        severity: with which it is reported; "" for the only one that it has.
    """

    id: str
    sick: Callable[[], Patient]
    healthy: Callable[[], Patient]
    code: str = ""
    severity: str = ""

    @property
    def name(self) -> str:
        """The id, and the severity where there are several."""
        return " ".join(filter(None, (self.id, self.severity)))
