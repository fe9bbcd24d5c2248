"""`prove`: compare a model with an ONNX file in every way, and describe a failure in words."""

import gc
from pathlib import Path

from torch import nn

from bnconvert.graphs.example import Example
from bnconvert.modules.copies.preserving import restored
from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.reporting.records import Check
from bnconvert.reporting.report import Report
from bnconvert.reporting.table import listed
from bnconvert.verification.compared_inputs import Claim
from bnconvert.verification.comparison import Comparison, Proof
from bnconvert.verification.finding_ids import (
    BATCH_DEPENDENCE,
    BATCH_STATISTICS,
    DIVERGENCE,
    NOT_FINITE,
    ORIGIN,
    UNPROVEN,
)

#: The findings that say why a file differs.
_CAUSES = (BATCH_STATISTICS, BATCH_DEPENDENCE, DIVERGENCE, ORIGIN)
_MEANING = {
    "norm": "relative root mean square error {c.error:.1e}, {c.allowed:.1e} allowed",
    "peak": "largest relative error {c.error:.1e}, {c.allowed:.1e} allowed",
    "top-1": "the best class differs in {c.error:.1%} of the given rows, {c.allowed:.1%} allowed",
    "rows": "depends on the rest of its batch by {c.error:.1e}, {c.allowed:.1e} allowed",
}
_LARGE = 2**27  # bytes of weights, of which a proof takes several times as much
_SHOWN = 3  # failing checks that are listed; more say nothing new


def prove(model: nn.Module, example: Example, path: Path, claim: Claim | None = None) -> Proof:
    """Compare a model with an ONNX file in every way; return the figures, good or bad.

    Args:
        model: the user's own; compared in eval mode.
        example: real inputs, as the file takes them.
        path: the file.
        claim: what is said about the file beforehand.

    Raises:
        ExportError: ONNX Runtime cannot load the file, or the inputs do not fit file or model.
    """
    if sum(parameter.nbytes for parameter in model.parameters()) > _LARGE:
        gc.collect()  # graphs and earlier proofs, which refer to themselves
    with preserved_random_state(), restored(model):  # a forward may draw numbers, fill caches
        return Comparison(model, example, path, claim).proof()


def unproven_sentences(report: Report) -> list[str]:
    """Describe in sentences what a comparison that does not fail says nothing about."""
    return [
        f"{f.id}: {listed(f.paths)}: {f.message}; {f.fix}"
        for f in report.findings
        if f.id in (UNPROVEN, NOT_FINITE) and f.severity == "error"
    ]


def failure_sentences(report: Report) -> list[str]:
    """Describe a failure in sentences: where or why it diverges, then some checks that fail."""
    checks = list(dict.fromkeys(_failed(check) for check in report.failures))
    causes = [f"{f.id}: {f.message}; {f.fix}" for f in report.findings if f.id in _CAUSES]
    if len(checks) > _SHOWN + 1:
        count = f"{len(report.failures)} of {len(report.checks)} checks fail"
        checks[_SHOWN:] = [f"{count}; the report has all of them"]
    return [*causes, *checks]


def _failed(check: Check) -> str:
    meaning = check.detail or _MEANING[check.measure].format(c=check)
    return f"{check.case}, {check.output}: {meaning}"
