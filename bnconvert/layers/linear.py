"""Linear layers: y = W x + b over the last axis, with a map of the output or input features.

A linear layer makes features on the last axis; batch norm normalizes axis 1. On (N, L, C) these
are different axes, and with L == C nothing but the number of axes tells.
"""

from typing import Any, ClassVar

from torch import fx

from bnconvert.graphs.aten import aten
from bnconvert.layers.layer import Layer, Route, sizes_of
from bnconvert.layers.plan import Plan
from bnconvert.layers.weights import reweighted, weights_of
from bnconvert.numerics.channel_map import ChannelMap
from bnconvert.numerics.linear_maps import ahead_of_conv, behind_linear


class Linear(Layer):
    """Linear layers on any number of axes."""

    targets: ClassVar[frozenset[Any]] = frozenset({aten.linear.default})

    def behind(self, route: Route, node: fx.Node, wanted: ChannelMap) -> Plan | str:
        """Scale along axis 0 of the weight, (out, in)."""
        found = weights_of(route.network, node)
        if isinstance(found, str):
            return found
        weight, bias = found
        vectors = wanted.vectors(-1, weight.shape[0])
        if vectors is None:
            return (
                f"the linear layer's output has {len(sizes_of(node))} axes: the norm normalizes "
                "axis 1, the features are the last axis"
            )
        return reweighted(route, node, *behind_linear(weight, bias, *vectors))

    def ahead(self, route: Route, node: fx.Node, source: fx.Node, owed: ChannelMap) -> Plan | str:
        """Scale along axis 1 of the weight."""
        if node.args[0] is not source:
            return "it is the weight of a linear layer"
        found = weights_of(route.network, node)
        if isinstance(found, str):
            return found
        weight, bias = found
        vectors = owed.vectors(-1, weight.shape[1])
        if vectors is None:
            return (
                f"a linear layer on {len(sizes_of(source))} axes, which reads features from the "
                "last axis"
            )
        return reweighted(route, node, *ahead_of_conv(weight, bias, *vectors, 1))
