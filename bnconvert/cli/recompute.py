"""`bnconvert recompute`: recompute the running statistics over data, and write the weights."""

import typer

from bnconvert.cli.options import (
    BatchSize,
    CropPct,
    DataSource,
    ImgSize,
    Interpolation,
    Mean,
    MemoryLimit,
    MethodName,
    MethodOption,
    Model,
    Plot,
    ReportPath,
    Samples,
    StateDict,
    Std,
    Weights,
)
from bnconvert.reporting.progress import showing_progress


def command(
    model: Model,
    data: DataSource,
    output: StateDict,
    weights: Weights = None,
    method: MethodOption = MethodName.layerwise,
    memory_limit: MemoryLimit = None,
    batch_size: BatchSize = 32,
    samples: Samples = None,
    img_size: ImgSize = None,
    crop_pct: CropPct = None,
    interpolation: Interpolation = None,
    mean: Mean = None,
    std: Std = None,
    report: ReportPath = None,
    plot: Plot = None,
) -> None:
    """Recompute MODEL's running statistics precisely over --data, and write the weights."""
    from bnconvert.cli.data import load_data
    from bnconvert.cli.images import ImagePreprocessing
    from bnconvert.cli.model_source import load_model
    from bnconvert.cli.output import show, write_weights
    from bnconvert.statistics.recomputation import recompute_statistics

    with showing_progress(first="loading the model"):
        loaded, _ = load_model(model, weights, None)
    images = ImagePreprocessing.of(loaded, img_size, crop_pct, interpolation, mean, std)
    source = load_data(data, loaded, batch_size, images, samples)
    result = recompute_statistics(
        loaded,
        source.batches,
        method=method.value,
        forward=source.run,
        max_samples=samples,
        memory_limit=None if memory_limit is None else int(memory_limit * 1e6),
    )
    # Before the report, whose plot may fail.
    write_weights(loaded, {"bnconvert.statistics": f"{method.value} over {data}"}, output)
    show(result.report, report, plot)
    typer.echo(f"\nwrote {output}; use it with --weights {output}")
