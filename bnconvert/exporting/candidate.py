"""A candidate: an ONNX file that is written from a folded model and not yet verified."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from bnconvert.errors import CaptureError, ExportError
from bnconvert.exporting.jitter import jittered, untrained_norms, with_random_statistics
from bnconvert.exporting.preconditions import why_by_batch
from bnconvert.exporting.preprocessing import with_preprocess
from bnconvert.exporting.writing import onnx_file, onnx_weights
from bnconvert.exporting.writing.onnx_form import OnnxForm
from bnconvert.exporting.writing.onnx_size_names import forget_size_names
from bnconvert.exporting.writing.onnx_slimming import simplified
from bnconvert.exporting.writing.onnx_tracing import FlatCall, write_trace
from bnconvert.folding.folding import Folded, fold_for_file
from bnconvert.graphs.capture.state import why_stateful
from bnconvert.graphs.capture.traceability import decided_size
from bnconvert.graphs.example import Example, named_tensors
from bnconvert.graphs.exported_program import drop_numbers
from bnconvert.modules.survey import scripted_paths
from bnconvert.reporting.progress import Steps
from bnconvert.reporting.records import Finding
from bnconvert.reporting.report import Report
from bnconvert.reporting.table import listed
from bnconvert.reporting.whole_file import disk_is_full
from bnconvert.verification.compared_inputs import Claim
from bnconvert.verification.comparison import Proof
from bnconvert.verification.finding_ids import TRACED
from bnconvert.verification.localization import Graphs, localize
from bnconvert.verification.references.reference import SEED
from bnconvert.verification.verification import prove

#: The steps of an export, as progress shows them.
STEPS = FOLDING, WRITING, VERIFYING = "capturing and folding", "writing ONNX", "verifying"
_DROPPED = "the file holds tensors only: {} other outputs are left out"


@dataclass(frozen=True, eq=False)
class Candidate:
    """An ONNX file that is written and not yet verified.

    Attributes:
        model: what it is made from, and compared with: the user's own, without preprocessing.
        example: what the model was captured with, as the file takes it.
        dynamic_shapes: as for torch.export; None where the batch size may vary.
        path: the file.
        claim: what is said about the file beforehand.
        form: the opset, and the names of inputs and outputs.
        folded: the folded model that it holds.
    """

    model: nn.Module
    example: Example
    dynamic_shapes: Any
    path: Path
    claim: Claim
    form: OnnxForm
    folded: Folded

    @classmethod
    def written(
        cls,
        model: nn.Module,
        example: Example,
        dynamic_shapes: Any,
        path: Path,
        claim: Claim,
        form: OnnxForm,
        steps: Steps,
    ) -> "Candidate":
        """Fold a model and write it as ONNX: of any batch size, else of a fixed one, else traced.

        Raises:
            ExportError: the file cannot be written, or would hold changing state as a constant.
            CaptureError: the model cannot be captured.
        """
        steps.begin(FOLDING)
        whole = with_preprocess(model, claim.raw)
        folded = fold_for_file(whole, example, dynamic_shapes)
        steps.begin(WRITING)
        if folded.is_whole:
            limits = folded.captured.limits
            claim = replace(claim, holds=lambda other: not limits.broken_by(model, other))
        candidate = cls(model, example, dynamic_shapes, path, claim, form, folded)
        if not folded.is_whole and (refusal := why_stateful(whole, example)):
            raise ExportError(str(refusal))
        if not folded.is_whole and dynamic_shapes is None:
            return candidate._traced("the model cannot be captured whole")
        if refusal := why_by_batch(model, folded.captured.module):
            raise ExportError(str(refusal))
        if dropped := drop_numbers(graphs_of(folded).folded):
            candidate = candidate._with_notes(_DROPPED.format(dropped))
        try:
            any_batch = dynamic_shapes is None
            onnx_file.write_folded(candidate.folded, path, form, any_batch=any_batch)
        except ExportError as failure:
            if dynamic_shapes is not None or disk_is_full(failure) or not example.tensors():
                raise
            return candidate._fallback(failure, steps)
        return candidate

    def _fallback(self, failure: ExportError, steps: Steps) -> "Candidate":
        """Write a file of the given sizes, because one of any batch size fails with `failure`."""
        reason = onnx_file.reason(failure.__cause__ or failure)
        if self.folded.captured.dynamic_shapes is not None:
            with contextlib.suppress(ExportError, CaptureError):
                return self._with_fixed_batch(f"others cannot be written ({reason})", steps)
        with contextlib.suppress(ExportError):
            return self._traced(f"torch.onnx cannot write the captured graph ({reason})")
        raise failure

    def _with_fixed_batch(self, reason: str, steps: Steps) -> "Candidate":
        """Write the file for the example's batch size only, with a note that says why."""
        fixed = self.example.shapes(lambda leaf: None, self.model)
        path, claim, form = self.path, self.claim, self.form
        candidate = self.written(self.model, self.example, fixed, path, claim, form, steps)
        return candidate._with_notes(
            f"the file takes batches of {self.example.batch} only: {reason}"
        )

    def _traced(self, reason: str) -> "Candidate":
        """Write one forward as the tracer sees it, and say what that means in a finding."""
        if scripted := [*scripted_paths(self.model)]:
            raise ExportError(
                f"{listed(scripted)}: TorchScript, which neither torch.export nor a trace takes "
                "inside of an eager model; put the modules there that it was made from"
            )
        if self.folded.is_whole and (why := decided_size(self.folded.captured.module)):
            raise ExportError(f"{reason}, and it cannot be traced: {why}")
        forward = FlatCall(self.folded.module, self.example)
        inputs = named_tensors(self.model, self.example)
        places = write_trace(forward, inputs, self.path, self.form)
        where = f" (in {listed(places)})" if places else ""
        found = Finding(
            TRACED,
            "warning",
            ("(root)",),
            f"{reason}, so that the file is one traced forward: it takes inputs of the given "
            f"sizes, and what Python computed from the numbers of tensors{where} is a constant, "
            "as it was for these inputs",
            "verify the file with other real inputs, or export the parts that can be captured",
        )
        dropped = 0 if self.folded.is_whole else forward.others
        return self._with_notes(*[_DROPPED.format(dropped)] if dropped else [], findings=(found,))

    def _with_notes(self, *notes: str, findings: Sequence[Finding] = ()) -> "Candidate":
        old = self.folded.report
        report = replace(old, notes=(*old.notes, *notes), findings=(*old.findings, *findings))
        return replace(self, folded=replace(self.folded, report=report))

    def proven(self, steps: Steps) -> tuple["Candidate", Report]:
        """Compare the file with its model; where they differ, localize the operator.

        The file is replaced by a simplified one where that passes the same comparison. Where the
        statistics hide folding bugs, a copy of the model with random ones is exported and compared
        as well, and the file is simplified only where the copy's is right, too.

        Returns:
            The candidate, and its figures. It is another one, of a fixed batch size, where the
            file computes something else in batches of other sizes than the given one.

        Raises:
            ExportError: ONNX Runtime cannot run it.
        """
        is_new = bool(untrained_norms(self.model))
        other = self._with_random_statistics(steps) if is_new else None
        second = other._proof_of_simpler(replaces=False) if other else None
        if second:
            other = None  # as large as the model, and again in float64
        report = self._proof_of_simpler() if second or not is_new else None
        steps.begin(VERIFYING)
        if report is None:
            forget_size_names(self.path)
            proof, second = self._proof(), None
            if fixed := self._of_given_batch(proof):
                return fixed.proven(steps)
            report = self._localized(proof, steps)
        if is_new and not report.failures:
            if second is None:
                other = other or self._with_random_statistics(steps)
                second = other._localized(other._proof(), Steps(None, *STEPS))
            report = with_random_statistics(report, second)
        return self, report

    def _of_given_batch(self, proof: Proof) -> "Candidate | None":
        """Write the file for the given batch size, where it is right there and nowhere else."""
        may_vary = self.dynamic_shapes is None and self.folded.is_whole
        may_vary = may_vary and self.folded.captured.dynamic_shapes is not None
        if not (proof.report.failures and proof.holds_as_given and may_vary and self.example.batch):
            return None
        if any(check.measure == "rows" for check in proof.report.failures):
            return None  # the file mixes rows that the model does not mix
        failed = proof.report.failures[0].case
        with contextlib.suppress(ExportError, CaptureError):
            unseen = Steps(None, *STEPS)
            return self._with_fixed_batch(f"it computes something else on {failed}", unseen)
        return None

    def _proof(self) -> Proof:
        return prove(self.model, self.example, self.path, self.claim)

    def _localized(self, proof: Proof, steps: Steps) -> Report:
        return localize(proof, self.model, self.path, lambda _: graphs_of(self.folded), steps.tell)

    def _proof_of_simpler(self, *, replaces: bool = True) -> Report | None:
        """Prove a simplified file, which replaces this one if asked; None where that fails.

        Only where axes of any size had different ones: a simplifier may take one for another.
        """
        if not self.folded.is_whole:
            return None  # thousands of operators, for which a simplifier takes minutes
        if (simpler := simplified(self.path)) is None:
            return None
        with contextlib.suppress(ExportError):  # ONNX Runtime does not take it
            proof = prove(self.model, self.example, simpler, self.claim)
            if proof.report.verdict == "agrees" and proof.axes_apart:
                if replaces:
                    onnx_weights.move(simpler, self.path)
                return proof.report
        return None

    def _with_random_statistics(self, steps: Steps) -> "Candidate":
        """Write a copy of the model whose untrained norms have random statistics."""
        steps.tell("verifying a copy with random statistics: the model's are untrained")
        other = jittered(self.model, torch.Generator().manual_seed(SEED))
        path, unseen = self.path.with_name(f"jittered_{self.path.name}"), Steps(None, *STEPS)
        shapes, claim, form = self.dynamic_shapes, self.claim, self.form
        return Candidate.written(other, self.example, shapes, path, claim, form, unseen)


def graphs_of(folded: Folded) -> Graphs:
    """Return the graphs of a folded model: as captured, and as folded.

    Raises:
        CaptureError: only parts of it could be captured.
    """
    captured, module = folded.captured.module, folded.module
    assert isinstance(module, fx.GraphModule), "what is captured whole is folded as a graph"
    return Graphs(captured, module)
