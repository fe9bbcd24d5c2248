"""What layers read on average over the training data, by the norms alone.

In eval mode a norm's output has mean beta and standard deviation |gamma| where its statistics are
those of the data; the mean after an activation is that of a normal distribution that went through
it (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019,
section 4.2.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from bnconvert.folding.operators.addition import Sum, sign_of, summands_of
from bnconvert.folding.operators.operator_rule import are_equal, sizes_of
from bnconvert.graphs.aten import NORMS, argument, aten
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.torch_private.operators import formals_of

#: Functions of one number, of which the mean is computed over so many quantiles of the normal.
_ACTIVATIONS = frozenset(
    {
        aten.relu.default,
        aten.relu6.default,
        aten.hardtanh.default,
        aten.clamp.default,
        aten.leaky_relu.default,
        aten.elu.default,
        aten.silu.default,
        aten.gelu.default,
        aten.hardswish.default,
        aten.mish.default,
        aten.sigmoid.default,
        aten.hardsigmoid.default,
        aten.tanh.default,
    }
)
_QUANTILES = 1_000
#: Poolings whose result has the mean of what they read, with how many axes of a batch they read.
_POOLINGS: dict[Any, int] = {
    aten.avg_pool1d.default: 3,
    aten.avg_pool2d.default: 4,
    aten.avg_pool3d.default: 5,
    aten.adaptive_avg_pool1d.default: 3,
    aten.adaptive_avg_pool2d.default: 4,
    aten.adaptive_avg_pool3d.default: 5,
}
_PADDINGS = frozenset({aten.pad.default, aten.constant_pad_nd.default})
#: Operators that keep mean and deviation. What padding adds at the border is left out of account,
#: as in a convolution that pads.
_SAME = _PADDINGS | frozenset(
    {
        aten.flatten.using_ints,
        aten.view.default,
        aten.reshape.default,
        aten.squeeze.dims,
        aten.clone.default,
        aten.contiguous.default,
    }
)


@dataclass(frozen=True, eq=False)
class Spread:
    """How a value is distributed over the data, channel by channel: along its axis 1.

    Attributes:
        mean: float64, shape (channels,).
        std: the standard deviation; None where nothing tells it.
    """

    mean: Tensor
    std: Tensor | None


def expected_inputs(module: fx.GraphModule, layers: frozenset[Any]) -> dict[str, Tensor]:
    """Return the mean of each layer's input channels, by the name of its node, where it is known.

    Args:
        module: a captured graph with its norms; looked at only.
        layers: the operators that are asked about.
    """
    graph, known, found = MutableGraph(module), dict[fx.Node, Spread](), dict[str, Tensor]()
    for node in module.graph.nodes:
        if node.op != "call_function":
            continue
        if node.target in layers and node.args[0] in known and _reads_axis_1(node):
            found[node.name] = known[node.args[0]].mean
        spread = _spread_of(graph, node, known)
        if spread is not None:
            known[node] = spread
    return found


def _spread_of(
    graph: MutableGraph, node: fx.Node, known: Mapping[fx.Node, Spread]
) -> Spread | None:
    if node.target in NORMS:
        return _after_norm(graph, node)
    if node.target in Sum.targets and all(source in known for source in node.args[:2]):
        return _of_sum(node, known)
    source = node.args[0] if node.args else None
    tensors = [n for n in node.all_input_nodes if isinstance(n.meta.get("val"), Tensor)]
    if not isinstance(source, fx.Node) or tensors != [source] or source not in known:
        return None
    read = known[source]
    if node.target in _ACTIVATIONS:
        return _activated(node, read)
    if node.target in _SAME and _keeps_channels(node, source):
        return read
    return Spread(read.mean, None) if _averages(node, source) else None


def _after_norm(graph: MutableGraph, node: fx.Node) -> Spread | None:
    channels = int(node.meta["val"].shape[1])
    weight, bias = (graph.constant(argument(node, name)) for name in ("weight", "bias"))
    ones = torch.ones(channels, dtype=torch.float64, device="cpu")
    mean = 0 * ones if bias is None else bias
    return Spread(mean, ones if weight is None else weight.abs())


def _of_sum(node: fx.Node, known: Mapping[fx.Node, Spread]) -> Spread | None:
    """Take two values for independent of each other, which a value is not of itself."""
    one, other = summands_of(node)
    if one is other or len(sizes_of(one)) != len(sizes_of(other)):  # last axes go together
        return None
    first, second, sign = known[one], known[other], sign_of(node, other)
    if sign is None or len(first.mean) != len(second.mean):
        return None
    mean = first.mean + sign * second.mean
    if first.std is None or second.std is None:
        return Spread(mean, None)
    return Spread(mean, torch.hypot(first.std, sign * second.std))


def _activated(node: fx.Node, read: Spread) -> Spread | None:
    """Send a normal distribution through a function."""
    if read.std is None or len(node.all_input_nodes) > 1:  # a bound may be a size
        return None
    steps = torch.arange(_QUANTILES, dtype=torch.float64, device="cpu")
    normal = torch.special.ndtri((steps + 0.5) / _QUANTILES)
    function: Any = node.target
    values = function(read.mean + read.std * normal[:, None], *node.args[1:], **node.kwargs)
    return Spread(values.mean(0), values.std(0))


def _reads_axis_1(layer: fx.Node) -> bool:
    """Tell whether a layer's input channels are axis 1, as those of a linear layer seldom are.

    A convolution's are where it reads a batch.
    """
    read, weight = layer.args[:2]
    assert isinstance(read, fx.Node)
    return isinstance(weight, fx.Node) and len(sizes_of(read)) == len(sizes_of(weight))


def _averages(node: fx.Node, source: fx.Node) -> bool:
    """Tell whether an operator takes means within the channels, of nothing but what it reads."""
    axes = len(sizes_of(source))
    if node.target is aten.mean.dim:
        reduced = argument(node, "dim")
        return bool(reduced) and {axis % axes for axis in reduced}.isdisjoint({0, 1})
    if _POOLINGS.get(node.target) != axes:
        return False
    given = {formal.name: argument(node, formal.name) for formal in formals_of(node.target)}
    zeros = any(given.get("padding", ())) and given["count_include_pad"]
    return not zeros and given.get("divisor_override") is None


def _keeps_channels(node: fx.Node, source: fx.Node) -> bool:
    made, read = sizes_of(node)[:2], sizes_of(source)[:2]
    if node.target in _PADDINGS and len(argument(node, "pad")) > 2 * (len(sizes_of(source)) - 2):
        return False
    return len(made) == len(read) == 2 and all(map(are_equal, made, read))
