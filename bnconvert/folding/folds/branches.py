"""Parallel linear branches over one input become one convolution (structural re-parameterization).

A sum of convolutions of the same value is a convolution: kernels are added where their windows are
centered alike, a smaller one surrounded by zeros. The identity is a kernel of a single 1, a norm
or a constant factor one of a single scale, average pooling one of equal numbers (Ding et al.,
"RepVGG", 2021; "Diverse Branch Block", 2021). Fewer groups hold more groups, with zeros. Linear
layers are convolutions without spatial axes. It is done where one convolution is no more work than
the branches together.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import fx

from bnconvert.errors import Refusal
from bnconvert.folding.folds.fold import Fold
from bnconvert.folding.operators.addition import Sum, sign_of, summands_of
from bnconvert.folding.operators.affine import AffineReading, read_affine
from bnconvert.folding.operators.graph_plan import Edit, GraphPlan, Remapped, Replacements, Verdict
from bnconvert.folding.operators.kernel_merging import (
    Kernel,
    kernel_of,
    merged,
    pooling_kernel,
    scaling_kernel,
)
from bnconvert.folding.operators.operator_rule import Propagator
from bnconvert.folding.operators.propagation import rule_of
from bnconvert.graphs.aten import argument, aten, consumers_of
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.channel_map import ChannelMap


class Branches(Fold):
    """Sums of convolutions, norms, averages and the identity of one value."""

    name: ClassVar[str] = "branches"

    def decide(self, propagator: Propagator, node: fx.Node) -> Verdict | None:
        """Make one convolution of the two summands."""
        if not isinstance(rule_of(propagator.graph, node), Sum) or node.args[0] is node.args[1]:
            return None
        first, second = summands_of(node)
        factor = sign_of(node, second) or 0.0
        for one in _readings(propagator.graph, first, node):
            for two in _readings(propagator.graph, second, node):
                edit = _merging(propagator.graph, node, one, two, factor)
                if edit is not None:
                    return GraphPlan((edit,))
        return None


@dataclass(frozen=True, eq=False)
class Branch:
    """One summand as a kernel.

    Attributes:
        node: the summand.
        kernel: what it computes.
        host: the convolution that can absorb the other branch, or None.
    """

    node: fx.Node
    kernel: Kernel
    host: fx.Node | None


@dataclass(frozen=True, eq=False)
class Summed(Remapped):
    """A sum of two maps of one value, which is a map itself."""

    source: fx.Node
    others: tuple[fx.Node, ...]

    @property
    def removes(self) -> tuple[fx.Node, ...]:
        """The summands."""
        return self.others

    def apply(self, graph: MutableGraph) -> Replacements:
        """Put one map in the place of the sum."""
        total = graph.replace_by_map(self.node, self.source, self.change)
        for node in self.others:
            graph.replace(node, total)
        return {self.node: total}


@dataclass(frozen=True, eq=False)
class Merged(Edit):
    """A convolution that absorbs other branches."""

    kernel: Kernel
    total: fx.Node
    others: tuple[fx.Node, ...]

    @property
    def removes(self) -> tuple[fx.Node, ...]:
        """The other branches and the sum."""
        return (self.total, *self.others)

    def apply(self, graph: MutableGraph) -> Replacements:
        """Give the convolution its new kernel and let it stand for the sum."""
        set_kernel(graph, self.node, self.kernel)
        for node in self.removes:
            graph.replace(node, self.node)
        return {}


def _merging(
    graph: MutableGraph, total: fx.Node, one: Branch, two: Branch, factor: float
) -> Edit | None:
    """Return how two branches become one operator, or None."""
    source = one.kernel.source
    if source is not two.kernel.source:
        return None
    whole = merged(one.kernel, two.kernel, factor)
    if isinstance(whole, Refusal):
        return None
    host = one.host or two.host
    others = tuple(b.node for b in (one, two) if b.node not in (host, source))
    if host is not None:
        fits = graph.stays_finite(argument(host, "weight"), whole.factored, whole.bias)
        return Merged(host, whole, total, others) if fits else None
    if whole.factored.shape[1:].numel() > 1 or total in others:
        return None  # average pooling stays what it is
    axes = len(total.meta["val"].shape)
    change = ChannelMap.on_axis(whole.weight.flatten(), whole.bias, 1, axes)
    return Summed(total, change, source, others)


def set_kernel(graph: MutableGraph, node: fx.Node, kernel: Kernel) -> None:
    """Make a convolution, or a linear layer, compute `kernel`."""
    graph.set_weights(node, kernel.factored, kernel.bias if bool(kernel.bias.any()) else None)
    rank = len(kernel.size)
    node.kwargs = {}
    if rank == 0:
        node.args = (kernel.source, *node.args[1:3])
        return
    node.target = getattr(aten, f"conv{rank}d").default
    geometry = (list(kernel.stride), list(kernel.padding), list(kernel.dilation), kernel.groups)
    node.args = (kernel.source, *node.args[1:3], *geometry)


def _readings(graph: MutableGraph, value: fx.Node, total: fx.Node) -> Iterator[Branch]:
    """Give the ways to read a summand as a kernel: what makes it, and itself."""
    shape = value.meta["val"].shape
    rank = len(shape) - 2
    if rank < 0 or rank > 3 or not isinstance(shape[1], int):
        return
    if set(value.users) == {total}:  # who reads its shape may come before the host
        kernel = kernel_of(graph, value)
        if kernel is not None:
            yield Branch(value, kernel, value)
        reading = read_affine(graph, value)
        if isinstance(reading, AffineReading):
            yield from _scaled_readings(value, reading, rank)
        pool = pooling_kernel(value, shape[1])
        if pool is not None:
            yield Branch(value, pool, None)
    ones = torch.ones(shape[1], dtype=torch.float64, device="cpu")
    yield Branch(value, scaling_kernel(value, ones, torch.zeros_like(ones), rank, 0), None)


def _scaled_readings(value: fx.Node, reading: AffineReading, rank: int) -> Iterator[Branch]:
    """Give the ways to read a map as a kernel: of an average of something, and of what it reads."""
    channels = value.meta["val"].shape[1]
    vectors = reading.change.vectors(1, channels)
    if vectors is None:
        return
    scale, shift = vectors
    pool = pooling_kernel(reading.source, channels)
    if pool is not None and consumers_of(reading.source) == {value}:
        weight = pool.factored * scale.reshape(-1, *[1] * (rank + 1))
        yield Branch(value, replace(pool, factored=weight, bias=shift, cost=pool.cost + 2), None)
    yield Branch(value, scaling_kernel(reading.source, scale, shift, rank, 2), None)
