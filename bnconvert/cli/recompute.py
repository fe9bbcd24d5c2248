"""`bnconvert recompute`: recompute the running statistics over data, and write the weights."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from bnconvert.cli.models.model_options import ModelChoice, with_model_options
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
    Plot,
    Samples,
    StateDict,
    Std,
)
from bnconvert.cli.reports.report_options import with_report_options

if TYPE_CHECKING:
    from torch import nn

    from bnconvert.statistics.recomputation import Recomputation


@with_report_options
@with_model_options
def command(
    context: typer.Context,
    chosen: ModelChoice,
    data: DataSource,
    output: StateDict,
    method: MethodOption = MethodName.layerwise,
    memory_limit: MemoryLimit = None,
    batch_size: BatchSize = 32,
    samples: Samples = None,
    img_size: ImgSize = None,
    crop_pct: CropPct = None,
    interpolation: Interpolation = None,
    mean: Mean = None,
    std: Std = None,
    plot: Plot = None,
) -> None:
    """Recompute MODEL's running statistics precisely over --data, and write the weights."""
    from bnconvert.cli.output import write_weights
    from bnconvert.cli.reports.presentation import Presentation

    presentation = Presentation.of(context)
    measured, result = _recomputed(context.params)
    # Before the report, whose plot may fail.
    write_weights(measured, {"bnconvert.statistics": f"{method.value} over {data}"}, output)
    shown = presentation.show(result.report)
    presentation.tell(f"\nwrote {output}; use it with --weights {output}")
    presentation.finish(shown)


def _recomputed(given: Mapping[str, Any]) -> tuple["nn.Module", "Recomputation"]:
    """Return the model with the statistics that the values of the options ask for."""
    from bnconvert.cli.sources.data_source import model_and_data
    from bnconvert.statistics.recomputation import recompute_statistics

    model, source = model_and_data(given)
    limit = given["memory_limit"]
    return model, recompute_statistics(
        model,
        source.batches,
        method=given["method"].value,
        forward=source.run,
        max_samples=given["samples"],
        memory_limit=None if limit is None else int(limit * 1e6),
    )
