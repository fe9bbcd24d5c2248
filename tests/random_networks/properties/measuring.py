"""Recomputed statistics are those of the naive way."""

from typing import Any

from torch import nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from tests.random_networks.interfaces import Drawn
from tests.random_networks.naive import aggregate_statistics, layerwise_statistics
from tests.random_networks.snapshot import Snapshot


def batches_of(drawn: Drawn) -> list[Example]:
    """Draw batches of several sizes."""
    return [drawn.example(rows, seed=rows) for rows in (2, 4, 3)]


def forward(model: nn.Module, batch: Example) -> Any:
    """Run a model on a batch."""
    return model(*batch.args, **batch.kwargs)


def measures(drawn: Drawn) -> None:
    """Measure layer by layer, and by mini-batches, and undo both."""
    naive_ways = {"layerwise": layerwise_statistics, "aggregate": aggregate_statistics}
    for method, naive in naive_ways.items():
        model, batches = drawn.model(), batches_of(drawn)
        before = Snapshot.of(model)
        try:
            result = bnc.recompute_statistics(
                model,
                batches,
                method="layerwise" if method == "layerwise" else "aggregate",
                forward=forward,
            )
        except BaseException:
            before.require(model, f"recompute_statistics, {method}, which failed,")
            raise
        naive(drawn.truth().eval(), model, batches, result.report)
        result.undo()
        before.require(model, f"recompute_statistics, {method}, and undo")
