"""What must hold of a folded graph, checked on the result: a fault here is ours, not the user's."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from bnconvert.folding.outcome import NormOutcome
from bnconvert.graphs.mutable_graph import channelwise, constant

#: Of each input and output: its dtype and sizes, or the kind of what is no tensor.
Interface = list[tuple[Any, ...]]


def interface_of(module: fx.GraphModule) -> Interface:
    """Return the dtypes and sizes of a graph's inputs and outputs, in order."""
    inputs = module.graph.find_nodes(op="placeholder")
    values = [*inputs, *tree_leaves(module.graph.output_node().args)]
    return [_signature(v.meta.get("val") if isinstance(v, fx.Node) else v) for v in values]


def require_sound(
    module: fx.GraphModule, interface: Interface, outcomes: Sequence[NormOutcome]
) -> None:
    """Raise unless a folded graph keeps what folding promises.

    1. It is a well-formed graph of operators, without the one that stands for a map meanwhile.
    2. Its inputs and outputs have the dtypes and sizes that they had.
    3. Its constants have the dtypes that they had: everything was rounded.
    4. No norm that is reported as folded is left.

    Args:
        module: the graph after folding.
        interface: that of the graph before.
        outcomes: what is reported.

    Raises:
        AssertionError: a fold is wrong.
    """
    module.graph.lint()
    nodes = list(module.graph.nodes)
    assert not any(node.target is channelwise for node in nodes), "a map is no operator yet"
    assert interface_of(module) == interface, "folding changed the graph's inputs or outputs"
    for node in nodes:
        value, known = constant(module, node), node.meta.get("val")
        if value is not None and isinstance(known, Tensor):
            assert value.dtype == known.dtype, f"{node.target} is not rounded to {known.dtype}"
    left = set(nodes)
    for outcome in outcomes:
        folded = outcome.is_folded and outcome.call.node in left
        assert not folded, f"{outcome.call.owner} is reported as folded and stands"


def _signature(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, Tensor):
        return (type(value).__name__,)
    return (value.dtype, *map(str, value.shape))
