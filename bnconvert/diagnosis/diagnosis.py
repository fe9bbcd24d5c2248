"""`diagnose`: find what is wrong with a model's norms, on data."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from bnconvert.diagnosis.evaluation import Evaluation
from bnconvert.diagnosis.findings import FINDINGS
from bnconvert.diagnosis.findings.measured_data import measured_findings
from bnconvert.modules.lazy_modules import require_weights
from bnconvert.modules.preserving import preserved
from bnconvert.modules.survey import survey
from bnconvert.reporting.report import Report
from bnconvert.statistics.batches import ForwardFunction, ScoreFunction
from bnconvert.torch_private.one_at_a_time import one_at_a_time


@one_at_a_time()
def diagnose(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    loss: ScoreFunction | None = None,
    metric: ScoreFunction | None = None,
    forward: ForwardFunction | None = None,
) -> Report:
    """Evaluate the model with three kinds of statistics, and report what is wrong with it.

    They are the running statistics, the batches' own (each norm by its mini-batch), and precise
    ones (layer by layer). The report says how far each norm's running statistics are from the
    other two, and the loss and metric with each. Give *training* data: where the loss is bad with
    the running statistics and good with precise ones, the model does not overfit, its statistics
    are wrong (Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3). All modules
    are in eval mode; the model, its modes and buffers included, is not changed. The fix of BN005,
    BN103, BN201 and BN202 is a line of code in terms of `bnc`, `model` and `batches`.

    Args:
        model: an eager module, in any mode.
        batches: as for `recompute_statistics`; all are held. Stale running statistics are
            reported from 64 samples on.
        loss: loss(output, batch) returns a number for each batch; smaller is better.
        metric: metric(output, batch), likewise: an error, not an accuracy.
        forward: forward(model, batch), for batches that the model does not take directly.

    Returns:
        The report: `.findings`, `.statistics` (rows against "precise" and "batch"), `.scores`.

    Raises:
        StatisticsError: no norm to measure, or no usable data.
        UnsupportedModelError: the model is wrapped, compiled or scripted, or cannot be copied, or
            its copy calls modules of the model itself.

    Examples:
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        >>> batches = (torch.randn(256, 4) + 3).split(32)
        >>> report = bnc.diagnose(net, batches)
        >>> [finding.id for finding in report.findings]
        ['BN114', 'BN103', 'BN201']
        >>> report.findings[-1].fix
        'bnc.recompute_statistics(model, batches)'
    """
    surveyed = survey(model)
    require_weights(model)
    evaluation = Evaluation(model, batches, forward, {"loss": loss, "metric": metric})
    with preserved(model):
        evaluation.run()
    static = [finding for family in FINDINGS for finding in family(surveyed)]
    findings = (*static, *measured_findings(evaluation.measurements()))
    notes = evaluation.notes if findings else (*evaluation.notes, "no findings")
    title = f"{type(model).__name__}: diagnosis over {evaluation.samples} samples"
    rows = evaluation.rows("precise") + evaluation.rows("batch")
    return Report(title, statistics=rows, scores=evaluation.means(), findings=findings, notes=notes)
