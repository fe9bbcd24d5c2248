"""`bnconvert diagnose`: the model's statistics against those of data."""

from bnconvert.cli.options import (
    BatchSize,
    CropPct,
    DataSource,
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
    Severity,
    Std,
    Weights,
)


def command(
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
    fail_on: FailOn = Severity.error,
) -> None:
    """Run training --data through MODEL by running, batch and precise statistics, and judge."""
    from bnconvert.cli.data import load_data
    from bnconvert.cli.loading import load, made_by
    from bnconvert.cli.output import exit_on, progress, show
    from bnconvert.cli.preprocessing import Preprocessing
    from bnconvert.cli.scores import cross_entropy, error
    from bnconvert.diagnosis import diagnose
    from bnconvert.measuring.feeding import read

    with progress("loading the model"):
        loaded, _ = load(model, weights, None)
    images = Preprocessing.of(loaded, img_size, crop_pct, interpolation, mean, std)
    source = load_data(data, loaded, batch_size, images)
    labels = source.labels
    losses = made_by(loss) if loss else labels and cross_entropy(labels)
    metrics = made_by(metric) if metric else labels and error(labels)
    batches = (batch.value for batch in read(source.batches, samples))
    result = diagnose(loaded, batches, loss=losses, metric=metrics, forward=source.forward)
    show(result, report, plot)
    exit_on(result, fail_on)
