"""`bnconvert diagnose`: compare a model's running statistics with those of data."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from bnconvert.cli.models.model_options import MODEL_PARAMETERS, ModelChoice, with_model_options
from bnconvert.cli.options import (
    BatchSize,
    CropPct,
    DataSource,
    ImgSize,
    Interpolation,
    LossFunction,
    Mean,
    MetricFunction,
    Plot,
    Samples,
    Std,
)
from bnconvert.cli.reports.report_options import REPORT_PARAMETERS, with_report_options
from bnconvert.cli.sources.domain_names import DomainsOption

if TYPE_CHECKING:
    from bnconvert.reporting.report import Report


@with_report_options
@with_model_options
def command(
    context: typer.Context,
    chosen: ModelChoice,
    data: DataSource,
    loss: LossFunction = None,
    metric: MetricFunction = None,
    batch_size: BatchSize = 32,
    samples: Samples = None,
    domains: DomainsOption = None,
    img_size: ImgSize = None,
    crop_pct: CropPct = None,
    interpolation: Interpolation = None,
    mean: Mean = None,
    std: Std = None,
    plot: Plot = None,
) -> None:
    """Compare MODEL's running statistics with those of its training --data; report problems."""
    from bnconvert.cli.reports.presentation import Presentation

    presentation = Presentation.of(context)
    shown = presentation.show(_diagnosed(context.params))
    if remedy := _remedy(shown, context):
        presentation.tell(f"\nto recompute the statistics: {remedy}")
    presentation.finish(shown)


def _diagnosed(given: Mapping[str, Any]) -> "Report":
    """Return the report that the values of the options ask for."""
    from bnconvert.cli.sources.data_source import model_and_data
    from bnconvert.cli.sources.scores import loss_of, metric_of
    from bnconvert.diagnosis.diagnosis import diagnose

    model, source = model_and_data(given)
    scored = source.labels, given["device"]
    return diagnose(
        model,
        source.first(given["samples"]),
        loss=loss_of(given["loss"], *scored),
        metric=metric_of(given["metric"], *scored),
        forward=source.run,
        domains=source.domains,
    )


def _remedy(result: "Report", context: typer.Context) -> str:
    """Return the command that recomputes the statistics over the same data, where that helps."""
    from bnconvert.cli.output import command_line
    from bnconvert.diagnosis.findings.code_lines import RECOMPUTE

    if all(RECOMPUTE not in (finding.fix, finding.code) for finding in result.findings):
        return ""
    only_diagnose = ("loss", "metric", "domains", "plot", *MODEL_PARAMETERS, *REPORT_PARAMETERS)
    common = {name: v for name, v in context.params.items() if name not in only_diagnose}
    chosen = ModelChoice.of(context.params)
    words = (chosen.source, *chosen.words())
    return command_line("recompute", *words, **common, output="recomputed.safetensors")
