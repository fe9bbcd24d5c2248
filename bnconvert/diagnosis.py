"""`inspect` and `diagnose`: a model's norms and what is wrong with them, without data and with."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import nn

from bnconvert.errors import CaptureError
from bnconvert.examples import Inputs
from bnconvert.findings import FINDINGS
from bnconvert.kinds import has_default_statistics, has_running_statistics
from bnconvert.measuring.batches import ForwardFunction, ScoreFunction
from bnconvert.reporting.records import NormRow
from bnconvert.reporting.report import Report
from bnconvert.site import Site
from bnconvert.tracing import survey


def inspect(model: nn.Module, example_inputs: Inputs | None = None) -> Report:
    """List the model's norms and findings; nothing runs, nothing changes.

    Args:
        model: an eager module, in any mode.
        example_inputs: given, the eval model is also captured and folded (on a copy), so that
            calls are counted where a trace cannot look, and each row says whether it folds.

    Raises:
        UnsupportedModelError: the model is wrapped, compiled or scripted.
    """
    found = survey(model)
    rows = tuple(_row(site) for site in found.sites)
    findings = tuple(finding for family in FINDINGS for finding in family(found))
    title = f"{type(model).__name__}: " + ("batch normalization" if rows else "no batch norm")
    report = Report(title, norms=rows, findings=findings)
    if not findings:
        report = replace(report, notes=("no findings",))
    if example_inputs is None:
        return report
    from bnconvert.folding import fold  # torch.export and all folds: slow, and not needed above

    try:
        folded = fold(model, example_inputs).report
    except CaptureError as failure:
        return replace(report, notes=(*report.notes, str(failure)))
    return replace(report, norms=folded.norms, notes=(*report.notes, *folded.notes))


def diagnose(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    loss: ScoreFunction | None = None,
    metric: ScoreFunction | None = None,
    forward: ForwardFunction | None = None,
) -> Report:
    """Evaluate the model by three kinds of statistics, and report what is wrong with it.

    The running statistics, the batches' own (each norm by its mini-batch), and the precise ones
    (layer by layer): how far each norm's running statistics are from the other two, and the loss
    and metric under each. On *training* data: where the precise statistics repair what the
    running ones break, it is no overfitting but the statistics (Wu and Johnson, "Rethinking
    'Batch' in BatchNorm", 2021, section 3). All modules are in eval mode; the model, its modes
    and buffers included, is not changed. The fix of BN005, BN103, BN201 and BN202 is a line of
    code in terms of `bnc`, `model` and `batches`.

    Args:
        model: an eager module, in any mode.
        batches: as for `recompute_statistics`; all are held. From 64 samples on, it is said
            which running statistics are stale.
        loss: loss(output, batch) for each batch, a number that is smaller where better.
        metric: metric(output, batch), likewise: an error, not an accuracy.
        forward: forward(model, batch), for batches that the model does not take directly.

    Returns:
        The report: `.findings`, `.statistics` (rows against "precise" and "batch"), `.scores`.

    Raises:
        StatisticsError: no norm to measure, or no usable data.
        UnsupportedModelError: the model is wrapped, compiled or scripted, or cannot be copied.
    """
    from bnconvert.evaluation import Evaluation
    from bnconvert.findings.measured import measured_findings

    found = survey(model)
    evaluation = Evaluation(model, batches, forward, {"loss": loss, "metric": metric})
    evaluation.run()
    static = [finding for family in FINDINGS for finding in family(found)]
    findings = (*static, *measured_findings(evaluation.measurements()))
    notes = evaluation.notes if findings else (*evaluation.notes, "no findings")
    title = f"{type(model).__name__}: diagnosis over {evaluation.samples} samples"
    rows = evaluation.rows("precise") + evaluation.rows("batch")
    return Report(title, statistics=rows, scores=evaluation.means(), findings=findings, notes=notes)


def _row(site: Site) -> NormRow:
    return NormRow(
        site.path,
        site.class_name,
        site.channels,
        site.observed_calls,
        "training" if site.module.training else "eval",
        _settings(site),
        site.aliases,
    )


def _settings(site: Site) -> str:
    """Return the settings in which norms differ."""
    module = site.module
    settings = [f"eps={getattr(module, 'eps', '?')}"]
    if hasattr(module, "momentum"):
        settings.append(f"momentum={module.momentum}")
    if not has_running_statistics(module):
        settings.append("no running statistics")
    elif has_default_statistics(module):
        settings.append("untrained statistics")
    if site.kind.has_fixed_statistics:
        settings.append("frozen")
    if site.kind.tail:
        settings.append(f"then {', '.join(_tail_classes(site))}")
    return ", ".join(settings)


def _tail_classes(site: Site) -> list[str]:
    names = (type(site.module.get_submodule(name)).__name__ for name in site.kind.tail)
    return [name for name in names if name != "Identity"] or ["nothing"]
