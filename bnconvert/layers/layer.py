"""The protocol of a layer: what an operator does with a map behind it and in front of it."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

from torch import fx

from bnconvert.graphs.network import Network
from bnconvert.layers.plan import Plan
from bnconvert.numerics.channel_map import ChannelMap


class Route(Protocol):
    """The way of a map through the graph; it knows all layers."""

    network: Network

    def upward(self, value: fx.Node, reader: fx.Node, wanted: ChannelMap) -> Plan | str:
        """Return how `value` can come mapped to its only `reader`, or why it cannot."""

    def behind(self, node: fx.Node, wanted: ChannelMap) -> Plan | str:
        """Return how the operator `node` can give its output mapped, whoever reads it."""

    def downward(self, value: fx.Node, owed: ChannelMap) -> Plan | str:
        """Return how all readers of `value` can do with it unmapped, or why they cannot."""


class Layer(ABC):
    """One kind of operator. Both methods look only; the plan is applied by whoever asked."""

    #: The operators that it is about.
    targets: ClassVar[frozenset[Any]]

    @abstractmethod
    def behind(self, route: Route, node: fx.Node, wanted: ChannelMap) -> Plan | str:
        """Return how `node` can give `wanted` of its present output, or why it cannot."""

    @abstractmethod
    def ahead(self, route: Route, node: fx.Node, source: fx.Node, owed: ChannelMap) -> Plan | str:
        """Return how `node` can do with `source` where it has read `owed` of it, or why not."""


def sizes_of(value: fx.Node) -> list[Any]:
    """Return the sizes of a value; dynamic ones are symbols."""
    return list(value.meta["val"].shape)


def input_of(node: fx.Node) -> fx.Node:
    """Return the first argument of an operator."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source
