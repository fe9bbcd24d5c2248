"""Parallel linear branches over one input become one convolution (structural re-parameterization).

A sum of convolutions of the same value is a convolution: kernels are added where their windows are
centered alike, a smaller one surrounded by zeros. The identity is a kernel of a single 1, a norm
or a constant factor one of a single scale, average pooling one of equal numbers (Ding et al.,
"RepVGG", 2021; "Diverse Branch Block", 2021). Fewer groups hold more groups, with zeros. It is
done where one convolution is no more work than the branches together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx

from bnconvert.aten import argument, aten, readers_of
from bnconvert.folds.fold import Fold
from bnconvert.layers.affine import Reading, read_affine
from bnconvert.layers.geometry import (
    Kernel,
    kernel_of,
    merged,
    pooling_kernel,
    scaling_kernel,
)
from bnconvert.layers.plan import Edit, Plan
from bnconvert.layers.sums import Sum
from bnconvert.layers.way import Way, layer_of
from bnconvert.network import Network


class Branches(Fold):
    """Sums of convolutions, norms, averages and the identity of one value."""

    name: ClassVar[str] = "branches"

    def decide(self, way: Way, node: fx.Node) -> Plan | str | None:
        """Make one convolution of the two summands."""
        if not isinstance(layer_of(way.network, node), Sum) or node.args[0] is node.args[1]:
            return None
        alpha = float(node.kwargs.get("alpha", 1.0))  # type: ignore[arg-type]
        factor = -alpha if node.target is aten.sub.Tensor else alpha
        first, second = node.args[:2]
        assert isinstance(first, fx.Node)
        assert isinstance(second, fx.Node)
        for one in _readings(way.network, first, node):
            for two in _readings(way.network, second, node):
                host = one.host or two.host
                if host is None or one.kernel.source is not two.kernel.source:
                    continue
                whole = merged(one.kernel, two.kernel, factor)
                if isinstance(whole, Kernel) and _fits(way.network, host, whole):
                    other = [b.node for b in (one, two) if b.node not in (host, whole.source)]
                    return Plan((Merged(host, whole, node, tuple(other)),))
        return None


@dataclass(frozen=True, eq=False)
class Branch:
    """One summand as a kernel.

    Attributes:
        node: the summand.
        kernel: what it computes.
        host: the convolution that can take the other branch in, or None.
    """

    node: fx.Node
    kernel: Kernel
    host: fx.Node | None


@dataclass(frozen=True, eq=False)
class Merged(Edit):
    """A convolution that takes other branches in."""

    kernel: Kernel
    total: fx.Node
    others: tuple[fx.Node, ...]

    @property
    def removes(self) -> tuple[fx.Node, ...]:
        """The other branches and the sum."""
        return (self.total, *self.others)

    def apply(self, network: Network) -> None:
        """Give the convolution its new kernel and let it stand for the sum."""
        set_kernel(network, self.node, self.kernel)
        self.total.replace_all_uses_with(self.node)
        for node in self.removes:
            network.remove(node)


def set_kernel(network: Network, node: fx.Node, kernel: Kernel) -> None:
    """Make a convolution compute `kernel`."""
    network.give(node, kernel.weight, kernel.bias if bool(kernel.bias.any()) else None)
    rank = len(kernel.size)
    node.target = getattr(aten, f"conv{rank}d").default
    geometry = (list(kernel.stride), list(kernel.padding), list(kernel.dilation), kernel.groups)
    node.args = (kernel.source, *node.args[1:3], *geometry)
    node.kwargs = {}


def _readings(network: Network, value: fx.Node, total: fx.Node) -> Iterator[Branch]:
    """Give the ways to read a summand as a kernel: what makes it, and itself."""
    shape = value.meta["val"].shape
    rank = len(shape) - 2
    if rank < 1 or rank > 3 or not isinstance(shape[1], int):
        return
    if readers_of(value) == {total}:
        kernel = kernel_of(network, value)
        if kernel is not None:
            yield Branch(value, kernel, value)
        reading = read_affine(network, value)
        if isinstance(reading, Reading):
            vectors = reading.change.vectors(1, shape[1])
            if vectors is not None:
                yield Branch(value, scaling_kernel(reading.source, *vectors, rank, 2), None)
        pool = pooling_kernel(value, shape[1])
        if pool is not None:
            yield Branch(value, pool, None)
    ones = torch.ones(shape[1], dtype=torch.float64)
    yield Branch(value, scaling_kernel(value, ones, torch.zeros_like(ones), rank, 0), None)


def _fits(network: Network, host: fx.Node, kernel: Kernel) -> bool:
    like = argument(host, "weight")
    return network.fits(like, kernel.weight) and network.fits(like, kernel.bias)
