"""The factors that equalize all pairs of a graph at once, found by sweeps over the pairs."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bnconvert.folding.equalizing.layer_pair import LayerPair
from bnconvert.folding.operators.graph_plan import GraphPlan
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.channel_ranges import balancing_factors

#: A layer belongs to two pairs, as the consumer of one and the producer of the next: what one pair
#: is given moves the other. The paper sweeps until nothing moves; a depthwise convolution between
#: two others is the slowest, and comes within a few percent in that many.
_MOST_SWEEPS = 12
#: A factor that moves by less is at its end.
_SMALLEST_STEP = 1.02
#: A factor beyond it would even out ranges that are 2**16 apart. The activations of the channel are
#: divided by it too, and what has such a range is unused rather than badly scaled.
_LARGEST = 2.0**8


def find_factors(graph: MutableGraph, pairs: Sequence[LayerPair]) -> Mapping[str, Tensor]:
    """Return the factors of each pair, by the name of its producer.

    Args:
        graph: of the pairs; its weights are scratch, and hold no result.
        pairs: in the order of the graph.
    """
    factors = {pair.producer.name: _ones(pair.channels) for pair in pairs}
    for _ in range(_MOST_SWEEPS):
        moved = [_step(graph, pair, factors) for pair in pairs]
        if not any(moved):
            break
    return factors


def _step(graph: MutableGraph, pair: LayerPair, factors: dict[str, Tensor]) -> bool:
    """Equalize one pair as the others are now; tell whether that moved anything."""
    before = factors[pair.producer.name]
    wanted = before * balancing_factors(*pair.ranges(graph))
    step = wanted.clamp(1 / _LARGEST, _LARGEST) / before
    plan = pair.plan(graph, step)
    if not isinstance(plan, GraphPlan):
        return False  # a 16-bit weight would overflow
    plan.apply(graph)
    factors[pair.producer.name] = before * step
    return bool((torch.maximum(step, 1 / step) > _SMALLEST_STEP).any())


def _ones(channels: int) -> Tensor:
    return torch.ones(channels, dtype=torch.float64, device="cpu")
