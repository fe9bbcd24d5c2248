"""The way of a map through the graph, from layer to layer, up or down; it looks only."""

from itertools import chain

from torch import fx

from bnconvert.graphs.aten import describe, names_of, readers_of
from bnconvert.graphs.network import Network
from bnconvert.layers.activations import Activation
from bnconvert.layers.affine import Affine, read_affine
from bnconvert.layers.concatenation import Concatenation
from bnconvert.layers.conv import Conv
from bnconvert.layers.conv_transpose import ConvTranspose
from bnconvert.layers.layer import Layer
from bnconvert.layers.linear import Linear
from bnconvert.layers.padding import Padding
from bnconvert.layers.pieces import Piece, Split
from bnconvert.layers.plan import Plan, together
from bnconvert.layers.pooling import Pooling
from bnconvert.layers.products import Product
from bnconvert.layers.resizing import Resizing, Shuffling
from bnconvert.layers.sums import Sum
from bnconvert.layers.views import Permutation, Repetition, Reshaping
from bnconvert.numerics.channel_map import ChannelMap

#: Every layer that a map can meet, beside operators that are maps themselves.
LAYERS: tuple[Layer, ...] = (
    Conv(),
    ConvTranspose(),
    Linear(),
    Sum(),
    Product(),
    Activation(),
    Pooling(),
    Concatenation(),
    Piece(),
    Split(),
    Reshaping(),
    Permutation(),
    Repetition(),
    Resizing(),
    Shuffling(),
    Padding(),
)
#: Those that have weights to fold a map into.
WEIGHTED = (Conv, ConvTranspose, Linear)
_BY_TARGET = {target: layer for layer in LAYERS for target in layer.targets}
_AFFINE = Affine()


class Way:
    """A map's way through one graph."""

    def __init__(self, network: Network) -> None:
        """Look at `network`."""
        self.network = network
        self._open: set[fx.Node] = set()

    def upward(self, value: fx.Node, reader: fx.Node, wanted: ChannelMap) -> Plan | str:
        """Return how `value` can come mapped to its only reader, or why it cannot.

        Where others read it too, an addition may be taken back in each of them.
        """
        if wanted.is_identity:
            return Plan()
        others = readers_of(value) - {reader}
        if not others:
            return self.behind(value, wanted)
        refusal = f"its input is also read by {names_of(others)}"
        if wanted.scales or value in self._open:
            return refusal
        self._open.add(value)
        try:
            back = (self._ahead(other, value, wanted.mirrored()) for other in others)
            plan = together(chain([self.behind(value, wanted)], back))
        finally:
            self._open.discard(value)
        return refusal if isinstance(plan, str) else plan

    def behind(self, node: fx.Node, wanted: ChannelMap) -> Plan | str:
        """Return how the operator `node` can give its output mapped, or why it cannot."""
        if wanted.is_identity:
            return Plan()
        layer = layer_of(self.network, node)
        if layer is None:
            made = "a constant" if node.op == "get_attr" else describe(node)
            return f"its input is made by {made}, not by a convolution or a linear layer"
        return layer.behind(self, node, wanted)

    def downward(self, value: fx.Node, owed: ChannelMap) -> Plan | str:
        """Return how all readers of `value` can do with it unmapped, or why they cannot."""
        if owed.is_identity:
            return Plan()
        readers = sorted(readers_of(value), key=lambda node: node.name)
        return together(self._ahead(reader, value, owed) for reader in readers)

    def _ahead(self, reader: fx.Node, value: fx.Node, owed: ChannelMap) -> Plan | str:
        layer = layer_of(self.network, reader)
        if layer is None:
            return f"{describe(reader)} reads it"
        refusal = layer.ahead(self, reader, value, owed)
        if isinstance(refusal, str) and isinstance(layer, WEIGHTED):
            return f"{describe(reader)} reads it: {refusal}"
        return refusal


def layer_of(network: Network, node: fx.Node) -> Layer | None:
    """Return what an operator is to a map, or None where no map passes it."""
    if node.op != "call_function":
        return None
    if node.target in _AFFINE.targets and read_affine(network, node) is not None:
        return _AFFINE
    layer = _BY_TARGET.get(node.target)
    if isinstance(layer, Sum | Product) and not all(isinstance(a, fx.Node) for a in node.args[:2]):
        return None  # of a number that makes it no map: an infinite one, or one of another dtype
    return layer
