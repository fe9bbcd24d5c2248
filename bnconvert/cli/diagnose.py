"""`bnconvert diagnose`: compare a model's running statistics with those of data."""

from typing import TYPE_CHECKING

import typer

from bnconvert.cli.options import (
    BatchSize,
    CropPct,
    DataSource,
    FailLevel,
    FailOn,
    ImgSize,
    Interpolation,
    LossFunction,
    Mean,
    MetricFunction,
    Model,
    Plot,
    ReportPath,
    Samples,
    Std,
    Weights,
)
from bnconvert.reporting.progress import showing_progress

if TYPE_CHECKING:
    from bnconvert.reporting.report import Report


def command(
    context: typer.Context,
    model: Model,
    data: DataSource,
    weights: Weights = None,
    loss: LossFunction = None,
    metric: MetricFunction = None,
    batch_size: BatchSize = 32,
    samples: Samples = None,
    img_size: ImgSize = None,
    crop_pct: CropPct = None,
    interpolation: Interpolation = None,
    mean: Mean = None,
    std: Std = None,
    report: ReportPath = None,
    plot: Plot = None,
    fail_on: FailOn = FailLevel.error,
) -> None:
    """Compare MODEL's running statistics with those of its training --data; report problems."""
    from bnconvert.cli.data import load_data
    from bnconvert.cli.images import ImagePreprocessing
    from bnconvert.cli.model_source import load_model
    from bnconvert.cli.output import exit_on, show
    from bnconvert.cli.scores import loss_of, metric_of
    from bnconvert.diagnosis.diagnosis import diagnose

    with showing_progress(first="loading the model"):
        loaded, _ = load_model(model, weights, None)
    images = ImagePreprocessing.of(loaded, img_size, crop_pct, interpolation, mean, std)
    source = load_data(data, loaded, batch_size, images, samples)
    result = diagnose(
        loaded,
        source.first(samples),
        loss=loss_of(loss, source.labels),
        metric=metric_of(metric, source.labels),
        forward=source.run,
    )
    show(result, report, plot)
    _print_remedy(result, context)
    exit_on(result, fail_on)


def _print_remedy(result: "Report", context: typer.Context) -> None:
    """Print the command that recomputes the statistics over the same data, where that helps."""
    from bnconvert.cli.output import command_line
    from bnconvert.diagnosis.findings.code_lines import RECOMPUTE

    if all(finding.fix != RECOMPUTE for finding in result.findings):
        return
    only_diagnose = ("model", "loss", "metric", "report", "plot", "fail_on")
    common = {name: v for name, v in context.params.items() if name not in only_diagnose}
    model = context.params["model"]
    remedy = command_line("recompute", model, **common, output="recomputed.safetensors")
    typer.echo(f"\nto recompute the statistics: {remedy}")
