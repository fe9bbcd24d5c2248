"""What all layers with weights share: reading them, and deciding about another set of them."""

from math import prod

from torch import Tensor, fx

from bnconvert.graphs.aten import NORMS, argument, names_of, readers_of
from bnconvert.graphs.network import Network
from bnconvert.layers.layer import Route, sizes_of
from bnconvert.layers.plan import Plan, Reweighted


def weights_of(network: Network, node: fx.Node) -> tuple[Tensor, Tensor | None] | str:
    """Return a layer's weight and bias in float64, or why they cannot be changed."""
    weight = network.constant(argument(node, "weight"))
    if weight is None:
        return "the layer's weight is computed in the forward, not stored"
    bias_node = argument(node, "bias")
    bias = network.constant(bias_node)
    if bias_node is not None and bias is None:
        return "the layer's bias is computed in the forward, not stored"
    if not weight.dtype.is_floating_point:
        return f"the layer's weight is {weight.dtype}, not a floating-point tensor"
    return weight, bias


def reweighted(route: Route, node: fx.Node, weight: Tensor, bias: Tensor | None) -> Plan | str:
    """Return the plan to give a layer other weights, or why it may not have them.

    A weight that other operators read too is copied where the copy is smaller than what the
    norm reads and writes; a bias always is.
    """
    network = route.network
    like = argument(node, "weight")
    assert isinstance(like, fx.Node)
    if not network.fits(like, weight, bias):
        return f"the folded weight overflows {like.meta['val'].dtype}"
    others = network.sharers(node, like)
    if not others or network.tied_layers_agree or _followed_alike(node, others):
        return Plan((Reweighted(node, weight, bias),))
    if weight.numel() > 2 * example_size(node):
        return f"the layer's weight is also read by {names_of(others)}, and a copy costs more"
    remark = f"with a copy of its weight, which {names_of(others)} reads too"
    return Plan((Reweighted(node, weight, bias),), (remark,))


def _followed_alike(layer: fx.Node, others: set[fx.Node]) -> bool:
    """Tell whether all calls of a layer are read by the same norm alone: all get one new weight."""
    readers = [readers_of(call) for call in (layer, *others)]
    if any(
        len(found) != 1 or call.target is not layer.target
        for found, call in zip(readers, (layer, *others), strict=True)
    ):
        return False
    norms = [next(iter(found)) for found in readers]
    parameters = {(norm.target, tuple(map(str, norm.args[1:]))) for norm in norms}
    return len(parameters) == 1 and norms[0].target in NORMS


def example_size(node: fx.Node) -> int:
    """Return how many numbers a value has; a dynamic size counts as in the example."""
    return prod(_hint(size) for size in sizes_of(node))


def _hint(size: object) -> int:
    symbol = getattr(size, "node", None)
    return int(symbol.hint) if symbol is not None else int(size)  # type: ignore[call-overload]
