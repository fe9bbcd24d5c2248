"""`inspect`: list a model's norms and find what is wrong with them, without data."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn
from torch.optim import Optimizer

from bnconvert.conversion.parameter_groups import require_optimizer
from bnconvert.diagnosis.findings import FINDINGS
from bnconvert.diagnosis.findings.biases import bias_findings
from bnconvert.diagnosis.findings.counted_calls import with_counted_calls
from bnconvert.diagnosis.findings.loader import BatchSizes, batch_findings
from bnconvert.diagnosis.findings.optimizer import optimizer_findings
from bnconvert.diagnosis.findings.step_counts import step_findings
from bnconvert.diagnosis.norm_inputs import NormInput, NormInputWatch, norm_inputs
from bnconvert.diagnosis.norm_rows import completed, counted, row_of
from bnconvert.errors import CaptureError, first_line
from bnconvert.graphs.example import Example, Inputs
from bnconvert.modules.ambient_modes import usual_modes
from bnconvert.modules.digests import digests
from bnconvert.modules.lazy_modules import require_numbers
from bnconvert.modules.site import Survey
from bnconvert.modules.survey import survey
from bnconvert.modules.wrappers import unwrapped
from bnconvert.reporting.report import Report
from bnconvert.torch_private.one_at_a_time import one_at_a_time
from bnconvert.verification.finding_ids import TRAINING_FORM, TRAINING_MODE

_WRAPPED = (
    "the model is wrapped: paths begin at {0}, and lines of code mean it by `model`; wrap it anew "
    "after a conversion"
)
#: What is only of interest to who folds or exports, not to who trains.
_OF_DEPLOYMENT = (TRAINING_FORM, TRAINING_MODE)

_QUICKLY_READ = 1 << 30  # bytes of a model whose digest is taken: two seconds


@one_at_a_time()
@usual_modes()
def inspect(
    model: nn.Module,
    example_inputs: Inputs | None = None,
    *,
    optimizer: Optimizer | None = None,
    loader: Any = None,
) -> Report:
    """List the model's norms and findings; the model is neither run nor changed.

    Args:
        model: an eager module, in any mode; one inside of DistributedDataParallel, DataParallel or
            torch.compile is looked at there.
        example_inputs: if given, a copy of the eval model is run, captured and folded, so that
            calls are counted where torch.fx cannot trace, each row says how many values are
            normalized together and whether it folds, and the findings of `fold` are listed too.
        optimizer: of its training: are norms decayed, frozen parameters held, others left out? Do
            norms count more batches than it made steps?
        loader: a `DataLoader` of training data: is a batch too small to normalize by?

    Returns:
        The report: `.findings`, and `.norms`, a row for each norm.

    Raises:
        UnsupportedModelError: the model is scripted, or sharded; or it is to be run and has lazy
            modules, or tensors on the meta device.
        ValueError: `optimizer` has no groups of parameters.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, momentum=0.9))
        >>> report = bnc.inspect(net)
        >>> [(finding.id, finding.paths) for finding in report.findings]
        [('BN005', ('1',)), ('BN114', ('1',)), ('BN010', ('1',))]
        >>> exec(report.findings[0].code, {"model": net})
        >>> round(net[1].momentum, 3)
        0.1
    """
    model, wrappers = unwrapped(model)
    if example_inputs is not None:
        require_numbers(model)
    surveyed = survey(model)
    static = tuple(map(row_of, surveyed.sites))
    inputs, notes, folded = _run(surveyed, example_inputs)
    sizes = None if loader is None else BatchSizes.of(loader)
    if loader is not None and sizes is None:
        notes.append("the loader does not say how large its batches are: give a DataLoader")
    findings = [finding for family in FINDINGS for finding in family(surveyed)]
    findings += bias_findings(surveyed)
    findings += batch_findings(surveyed, inputs, sizes)
    if optimizer is not None:
        require_optimizer(optimizer)
        findings += [*optimizer_findings(model, optimizer), *step_findings(surveyed, optimizer)]
    rows = static
    if folded is not None:
        rows, notes = counted(folded.norms or static, inputs), [*notes, *folded.notes]
        findings = [*with_counted_calls(surveyed, findings, rows), *folded.findings]
    if not findings:
        notes = ["no findings", *notes]
    if wrappers:
        notes = [*notes, _WRAPPED.format(".".join(("model", *wrappers)))]
    norms = completed(rows, static, inputs, findings)
    return Report(
        _title(surveyed),
        norms=norms,
        findings=tuple(findings),
        notes=tuple(notes),
        digests=digests(model, None if folded and folded.norms else _QUICKLY_READ),
    )


def _title(survey: Survey) -> str:
    seen = survey.sites or any(not call.on_weight for call in survey.functional) or survey.idle
    found = "batch normalization" if seen else "no batch norm"
    return f"{type(survey.model).__name__}: {found}"


def _run(
    survey: Survey, example_inputs: Inputs | None
) -> tuple[Mapping[str, NormInput], list[str], Report | None]:
    """Return what reaches each norm, a note where the forward fails, and what a fold reports."""
    if example_inputs is None:
        return {}, [], None
    example, watch = Example.of(example_inputs), NormInputWatch(survey.sites)
    folded = _folded(survey, example, watch)
    if watch.complete:
        return watch.seen, [], folded
    try:
        return norm_inputs(survey.model, example, survey.sites), [], folded
    except Exception as failure:
        note = f"a forward with the example inputs failed: {first_line(failure)}"
        return {}, [note], folded


def _folded(survey: Survey, example: Example, watch: NormInputWatch) -> Report:
    """Return what a fold reports; only a note where the model cannot be captured."""
    from bnconvert.folding.fold_report import (
        foreseen_report,  # torch.export and all folds: slow, and not needed above
    )

    try:
        report = foreseen_report(survey.model, example, watch.watching)
    except CaptureError as failure:
        return Report("", notes=(str(failure),))
    findings = (f for f in report.findings if f.id not in _OF_DEPLOYMENT)
    return replace(report, findings=tuple(findings))
