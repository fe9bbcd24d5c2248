"""`diagnose`: find what is wrong with a model's norms, on data."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from bnconvert.diagnosis.domains import Domains, within_domains
from bnconvert.diagnosis.evaluation import Evaluation
from bnconvert.diagnosis.findings import FINDINGS
from bnconvert.diagnosis.findings.domain_differences import domain_findings
from bnconvert.diagnosis.findings.measured_data import measured_findings
from bnconvert.diagnosis.findings.training_batches import training_batch_findings
from bnconvert.diagnosis.findings.uncertainty import uncertainty_findings
from bnconvert.diagnosis.findings.value_range import range_findings
from bnconvert.modules.copies.preserving import preserved
from bnconvert.modules.digests import digests
from bnconvert.modules.lazy_modules import require_numbers
from bnconvert.modules.survey import survey
from bnconvert.reporting.records import Finding
from bnconvert.reporting.report import Report
from bnconvert.statistics.batch_inputs import ForwardFunction
from bnconvert.statistics.batches import ScoreFunction
from bnconvert.torch_private.one_at_a_time import one_at_a_time


@one_at_a_time()
def diagnose(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    loss: ScoreFunction | None = None,
    metric: ScoreFunction | None = None,
    forward: ForwardFunction | None = None,
    domains: Domains | None = None,
) -> Report:
    """Evaluate the model with three kinds of statistics, and report what is wrong with it.

    They are the running statistics, the batches' own (each norm by its mini-batch), and precise
    ones (layer by layer). The report says how far each norm's running statistics are from the
    other two, and the loss and metric with each. Give *training* data: where the loss is bad with
    the running statistics and good with precise ones, the model does not overfit, its statistics
    are wrong (Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3). All modules
    are in eval mode; the model, its modes and buffers included, is not changed. If the model is in
    training mode, the batches are taken for those of the training and judged as such too.
    The `code` of a finding is a line in terms of `bnc`, `model` and `batches` that mends it.

    Args:
        model: an eager module, in any mode.
        batches: as for `recompute_statistics`; all are held. Stale running statistics are
            reported from 64 samples on.
        loss: loss(output, batch) returns one value for each sample (reduction="none"), or a
            number for the batch; smaller is better. From 8 values on the report has 99 % intervals
            (a bootstrap), and BN202 is decided by that of the paired difference.
        metric: metric(output, batch), likewise: an error, not an accuracy.
        forward: forward(model, batch), for batches that the model does not take directly.
        domains: a list with the domain of each batch, such as "real", or the names of its samples;
            or domains(batch), which returns either. The report says where domains differ.

    Returns:
        The report: `.findings`, `.statistics` (rows against "precise" and "batch"), `.scores` and
        their `.intervals`.

    Raises:
        StatisticsError: no norm to measure, no usable data, or a score that is neither a number
            nor one value for each sample.
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
    require_numbers(model)
    scores = {"loss": loss, "metric": metric}
    evaluation = Evaluation(model, batches, forward, scores, domains)
    with preserved(model):
        evaluation.run()
    static = [finding for family in FINDINGS for finding in family(surveyed)]
    measured = evaluation.measurements()
    findings = (*static, *measured_findings(measured), *_of_samples(evaluation, model.training))
    notes = evaluation.notes if findings else (*evaluation.notes, "no findings")
    title = f"{type(model).__name__}: diagnosis over {evaluation.samples} samples"
    rows = evaluation.rows("precise") + evaluation.rows("batch")
    return Report(
        title,
        statistics=rows,
        scores=evaluation.means(),
        intervals=measured.intervals,
        findings=findings,
        notes=notes,
        digests=digests(model),
    )


def _of_samples(evaluation: Evaluation, training: bool) -> Iterator[Finding]:
    """Yield the findings that follow from the samples at each norm."""
    yield from domain_findings(evaluation.norms, evaluation.labels)
    yield from range_findings(evaluation.norms, evaluation.watch.broken)
    yield from uncertainty_findings(evaluation.norms)
    if training:
        norms = [within_domains(n, evaluation.labels) for n in evaluation.normalized_by_batch()]
        yield from training_batch_findings(norms, evaluation.sizes())
