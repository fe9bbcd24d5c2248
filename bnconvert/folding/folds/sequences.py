"""Two linear layers in a row, or convolutions of which one has a kernel of a pixel, become one.

W2 * (W1 * x + b1) + b2 = (W2 W1) * x + (W2 b1 + b2). If the second has zero padding, the first
must have no bias: at the border it would be missing. It is done where it saves work.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import torch
from torch import fx

from bnconvert.folding.folds.branches import set_kernel
from bnconvert.folding.folds.fold import Fold
from bnconvert.folding.operators.graph_plan import Edit, GraphPlan, Replacements, Verdict
from bnconvert.folding.operators.kernel_merging import Kernel, kernel_of
from bnconvert.folding.operators.operator_rule import Propagator
from bnconvert.folding.operators.weights import example_size
from bnconvert.graphs.aten import argument
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.factored import Factored
from bnconvert.numerics.linear_maps import composed


class Sequences(Fold):
    """A convolution straight after a convolution."""

    name: ClassVar[str] = "sequences"

    def decide(self, propagator: Propagator, node: fx.Node) -> Verdict | None:
        """Make one convolution of two."""
        second = kernel_of(propagator.graph, node)
        if second is None or set(second.source.users) != {node}:
            return None
        first = kernel_of(propagator.graph, second.source)
        if first is None or first.groups != 1 or second.groups != 1:
            return None
        if len(first.size) != len(second.size):
            return None  # a linear layer reads features from another axis
        if not _point(second) and not _point(first):
            return None
        if not _point(second) and any(second.padding) and bool(first.bias.any()):
            return None
        before = first.cost * example_size(second.source) + second.cost * example_size(node)
        if _cost(first, second) * example_size(node) >= before:
            return None
        whole, like = _composed(first, second), argument(node, "weight")
        fits = propagator.graph.stays_finite(like, whole.factored, whole.bias)
        return GraphPlan((Joined(node, whole, second.source),)) if fits else None


@dataclass(frozen=True, eq=False)
class Joined(Edit):
    """A convolution that absorbs the one before it."""

    kernel: Kernel
    first: fx.Node

    @property
    def removes(self) -> tuple[fx.Node, ...]:
        """The first convolution."""
        return (self.first,)

    def apply(self, graph: MutableGraph) -> Replacements:
        """Give the second convolution the kernel of both."""
        set_kernel(graph, self.node, self.kernel)
        graph.fx_graph.erase_node(self.first)
        return {}


def _point(kernel: Kernel) -> bool:
    """Tell whether a convolution maps each pixel by itself."""
    return prod(kernel.size) == 1 and set(kernel.stride) <= {1} and not any(kernel.padding)


def _cost(first: Kernel, second: Kernel) -> int:
    """Return what one convolution for both costs; most pairs are told apart by it alone."""
    return first.factored.shape[1] * prod(first.size) * prod(second.size)  # one has one pixel


def _composed(first: Kernel, second: Kernel) -> Kernel:
    numbers = second.weight
    weight = composed(first.weight, numbers)
    taps = numbers.reshape(*numbers.shape[:2], -1).sum(2)
    bias = second.bias + torch.mv(taps, first.bias)
    shape = first if _point(second) else second
    return replace(
        shape,
        source=first.source,
        factored=Factored(weight),
        bias=bias,
        cost=_cost(first, second),
        groups=1,
    )
