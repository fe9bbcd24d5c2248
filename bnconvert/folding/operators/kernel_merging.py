"""The geometry of a convolution: which pixels its windows read; and merging two of them."""

from dataclasses import dataclass, replace
from math import gcd, prod

import torch
from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.conv import Conv, lowered_transposed
from bnconvert.folding.operators.linear import Linear
from bnconvert.folding.operators.operator_rule import input_of
from bnconvert.folding.operators.weights import weights_of
from bnconvert.graphs.aten import argument, aten
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.factored import Factored
from bnconvert.numerics.linear_maps import dense_weight


@dataclass(frozen=True, eq=False)
class Kernel:
    """A convolution as numbers.

    Attributes:
        source: what it reads.
        factored: the weight, float64, shape (out, in/groups, *kernel).
        bias: float64, shape (out,).
        stride: one for each spatial axis; so for `padding` (zeros) and `dilation`.
        padding: see `stride`.
        dilation: see `stride`.
        groups: the groups.
        cost: multiplications per output value and channel, as it is computed now.
    """

    source: fx.Node
    factored: Factored
    bias: Tensor
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    cost: int

    @property
    def size(self) -> tuple[int, ...]:
        """The kernel's size along each spatial axis."""
        return tuple(self.factored.shape[2:])

    @property
    def weight(self) -> Tensor:
        """The numbers of the weight, computed anew each time."""
        return self.factored.numbers()

    @property
    def slack(self) -> tuple[int, ...]:
        """How much longer than its input the output would be at stride 1."""
        return tuple(
            2 * p - d * (k - 1)
            for p, d, k in zip(self.padding, self.dilation, self.size, strict=True)
        )


def kernel_of(graph: MutableGraph, node: fx.Node) -> Kernel | None:
    """Return a convolution with stored weights as a kernel, or None.

    A linear layer is one without spatial axes.
    """
    if node.target not in Conv.targets | Linear.targets or lowered_transposed(node):
        return None
    found = weights_of(graph, node)
    if isinstance(found, Refusal):
        return None
    weight, given = found
    bias = _one_per_output(given, weight)
    if bias is None or weight.dim() < 2:
        return None
    cost, rank = weight.shape[1:].numel(), weight.dim() - 2
    if node.target in Linear.targets:
        return Kernel(input_of(node), weight, bias, (), (), (), 1, cost)
    stride, dilation = _tuple(node, "stride", rank), _tuple(node, "dilation", rank)
    padding = _padding(node, tuple(weight.shape[2:]), dilation)
    if padding is None or len(node.meta["val"].shape) != weight.dim():
        return None
    return Kernel(
        input_of(node),
        weight,
        bias,
        stride,
        padding,
        dilation,
        int(argument(node, "groups")),
        cost,
    )


def scaling_kernel(source: fx.Node, scale: Tensor, shift: Tensor, rank: int, cost: int) -> Kernel:
    """Return a per-channel map, or the identity, as a depthwise kernel of one pixel."""
    ones = (1,) * rank
    weight = scale.reshape(-1, 1, *ones)
    return Kernel(source, Factored(weight), shift, ones, (0,) * rank, ones, len(scale), cost)


def pooling_kernel(node: fx.Node, channels: int) -> Kernel | None:
    """Return average pooling that counts its padding as a depthwise kernel, or None."""
    rank = node.meta["val"].dim() - 2
    if rank < 1 or node.target is not getattr(aten, f"avg_pool{rank}d").default:
        return None
    size, padding = _tuple(node, "kernel_size", rank), _tuple(node, "padding", rank)
    stride = _tuple(node, "stride", rank) if argument(node, "stride") else size
    if argument(node, "ceil_mode") or (any(padding) and not argument(node, "count_include_pad")):
        return None
    if rank > 1 and argument(node, "divisor_override"):
        return None
    weight = torch.full((channels, 1, *size), 1 / prod(size), dtype=torch.float64, device="cpu")
    bias = weight.new_zeros(channels)
    ones = (1,) * rank
    factored = Factored(weight)
    return Kernel(input_of(node), factored, bias, stride, padding, ones, channels, prod(size))


def merged(first: Kernel, second: Kernel, factor: float) -> Kernel | Refusal:
    """Return first + factor * second as one kernel, or why that is none or does not pay."""
    if first.stride != second.stride:
        return Refusal("geometry-differs", "the branches have different strides")
    dilation = tuple(
        d if k > 1 else e
        for d, e, k in zip(first.dilation, second.dilation, first.size, strict=True)
    )
    wide = [replace(kernel, dilation=_free(kernel, dilation)) for kernel in (first, second)]
    if wide[0].dilation != wide[1].dilation or wide[0].slack != wide[1].slack:
        return Refusal("geometry-differs", "the branches' windows are not centered alike")
    padding = tuple(max(p, q) for p, q in zip(first.padding, second.padding, strict=True))
    groups = gcd(first.groups, second.groups)
    placed = [_placed(kernel, padding, groups) for kernel in wide]
    if placed[0] is None or placed[1] is None or placed[0].shape != placed[1].shape:
        return Refusal("geometry-differs", "the branches' windows are not centered alike")
    weight = placed[0] + factor * placed[1]
    cost = weight[0].numel()
    if cost > first.cost + second.cost + 1:
        return Refusal(
            "costs-more", "one convolution for the branches would be more work than the branches"
        )
    bias = first.bias + factor * second.bias
    factored = Factored(weight)
    return Kernel(first.source, factored, bias, first.stride, padding, dilation, groups, cost)


def _placed(kernel: Kernel, padding: tuple[int, ...], groups: int) -> Tensor | None:
    """Return a kernel's weight as that of a larger kernel with this padding and these groups."""
    border: list[int] = []
    for output_map, own, dilation in zip(padding, kernel.padding, kernel.dilation, strict=True):
        if (output_map - own) % dilation:
            return None
        border = [(output_map - own) // dilation] * 2 + border
    dense = dense_weight(kernel.weight, kernel.groups, groups)
    return torch.nn.functional.pad(dense, border)


def _free(kernel: Kernel, dilation: tuple[int, ...]) -> tuple[int, ...]:
    """Return a kernel's dilation, which says nothing along axes where it has one pixel."""
    return tuple(
        own if size > 1 else other
        for own, other, size in zip(kernel.dilation, dilation, kernel.size, strict=True)
    )


def _one_per_output(bias: Tensor | None, weight: Factored) -> Tensor | None:
    """Return a bias with a number for each output; None where it varies along other axes too.

    A linear layer broadcasts its bias: one number may serve all outputs, one row each output.
    """
    if bias is None:
        return weight.stored.new_zeros(weight.shape[0], dtype=torch.float64)
    if bias.shape[:-1].numel() > 1:
        return None
    return bias.flatten().expand(weight.shape[0])


def _tuple(node: fx.Node, name: str, rank: int) -> tuple[int, ...]:
    value = argument(node, name)
    values = [value] if isinstance(value, int) else list(value)
    return tuple(int(v) for v in (values * rank if len(values) == 1 else values))


def _padding(
    node: fx.Node, size: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[int, ...] | None:
    padding = argument(node, "padding")
    if padding == "valid":
        return (0,) * len(size)
    if padding == "same":
        spans = [d * (k - 1) for d, k in zip(dilation, size, strict=True)]
        return None if any(span % 2 for span in spans) else tuple(span // 2 for span in spans)
    return _tuple(node, "padding", len(size))
