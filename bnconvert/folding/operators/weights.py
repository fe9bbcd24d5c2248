"""The weight and bias of layers: read in float64, and whether they may be given new ones."""

from math import prod

from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.graph_plan import GraphPlan, Reweighted, Verdict
from bnconvert.folding.operators.operator_rule import Propagator, sizes_of
from bnconvert.graphs.aten import NORMS, argument, consumers_of, names_of
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.factored import Factored
from bnconvert.torch_private.symbolic_sizes import example_value

#: A layer's weight as factors, and its bias if it has one, in float64.
Weights = tuple[Factored, Tensor | None]


def weights_of(graph: MutableGraph, node: fx.Node) -> Weights | Refusal:
    """Return a layer's weight and bias, or why they cannot be changed."""
    weight = graph.factored(argument(node, "weight"))
    if weight is None:
        return Refusal(
            "computed-in-forward", "the layer's weight is computed in the forward, not stored"
        )
    bias_node = argument(node, "bias")
    bias = graph.constant(bias_node)
    if bias_node is not None and bias is None:
        return Refusal(
            "computed-in-forward", "the layer's bias is computed in the forward, not stored"
        )
    dtype = weight.stored.dtype
    if not dtype.is_floating_point:
        return Refusal(
            "not-floating-point", f"the layer's weight is {dtype}, not a floating-point tensor"
        )
    return weight, bias


def plan_new_weights(
    propagator: Propagator, node: fx.Node, weight: Factored, bias: Tensor | None
) -> Verdict:
    """Return the plan that gives a layer a new weight and bias, or the refusal.

    A weight that other operators read too is copied where the copy is smaller than what the
    norm reads and writes; a bias always is.
    """
    graph = propagator.graph
    like = argument(node, "weight")
    assert isinstance(like, fx.Node)
    if not graph.stays_finite(like, weight, bias):
        return Refusal("weight-overflows", f"the folded weight overflows {like.meta['val'].dtype}")
    others = graph.sharers(node, like)
    if not others or propagator.tied_weights_agree or _followed_alike(node, others):
        return GraphPlan((Reweighted(node, weight, bias),))
    if weight.shape.numel() > 2 * example_size(node):
        return Refusal(
            "weight-shared",
            f"the layer's weight is also read by {names_of(others)}, and a copy costs more",
        )
    remark = f"with a copy of its weight, which {names_of(others)} reads too"
    return GraphPlan((Reweighted(node, weight, bias),), (remark,))


def _followed_alike(layer: fx.Node, others: set[fx.Node]) -> bool:
    """Tell whether the same norm alone consumes all calls of a layer: all get one new weight."""
    consumers = [consumers_of(call) for call in (layer, *others)]
    if any(
        len(found) != 1 or call.target is not layer.target
        for found, call in zip(consumers, (layer, *others), strict=True)
    ):
        return False
    norms = [next(iter(found)) for found in consumers]
    parameters = {(norm.target, tuple(map(str, norm.args[1:]))) for norm in norms}
    return len(parameters) == 1 and norms[0].target in NORMS


def example_size(node: fx.Node) -> int:
    """Return how many numbers a value has; a dynamic size counts as in the example."""
    return prod(example_value(size) for size in sizes_of(node))
