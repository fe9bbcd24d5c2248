"""The protocol of an operator rule: how an operator takes a scale and a shift of a value.

A scale and a shift of what an operator computes is its *output map*: it is absorbed where the
operator, edited, computes the mapped value. A scale and a shift of what it reads is an *input map*:
it is absorbed where the operator, edited, computes the same from the value without it.

Along an axis of dynamic size a map repeats: of n numbers, position i has number i modulo n. A
reshaping makes such maps where a batch and channels become one axis.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

from torch import Tensor, fx

from bnconvert.folding.operators.graph_plan import Verdict
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.channel_map import ChannelMap
from bnconvert.torch_private.symbolic_sizes import holds_always


class Propagator(Protocol):
    """Hands a map from operator to operator; it knows all rules.

    Attributes:
        graph: what it looks at; nothing is changed.
        tied_weights_agree: all consumers of a weight are given the same new one, so that no
            copy of it is needed.
    """

    graph: MutableGraph
    tied_weights_agree: bool

    def into_producer(self, value: fx.Node, consumer: fx.Node, output_map: ChannelMap) -> Verdict:
        """Return how `value` can reach its only `consumer` mapped, or the refusal."""

    def absorb_output_map(self, node: fx.Node, output_map: ChannelMap) -> Verdict:
        """Return how the operator `node` can compute its output mapped, whoever consumes it."""

    def into_consumers(self, value: fx.Node, input_map: ChannelMap) -> Verdict:
        """Return how all consumers can compute the same from `value` unmapped, or the refusal."""


class OperatorRule(ABC):
    """One kind of operator. Both methods look only; the plan is applied by whoever asked."""

    #: The operators that it is about.
    targets: ClassVar[frozenset[Any]]
    #: Whether maps that repeat along an axis of dynamic size are understood.
    takes_repeating: ClassVar[bool] = False

    @abstractmethod
    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Return edits after which `node` outputs `output_map` of its value, or the refusal."""

    @abstractmethod
    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Return edits after which `node` needs `source` where it read `input_map` of it."""


def sizes_of(value: fx.Node) -> list[Any]:
    """Return the sizes of a value; dynamic ones are symbols, and a computed number has none."""
    made = value.meta["val"]
    return list(made.shape) if isinstance(made, Tensor) else []


def repeats(value: fx.Node, change: ChannelMap) -> bool:
    """Tell whether a map of a value repeats along an axis of dynamic size."""
    return any(
        change.varies_along(axis)
        for axis, size in enumerate(sizes_of(value))
        if not isinstance(size, int)
    )


def are_equal(first: Any, second: Any) -> bool:
    """Tell whether two sizes are equal whatever the dynamic ones turn out to be."""
    if isinstance(first, int) and isinstance(second, int):
        return first == second
    return first is second or holds_always(first == second)


def input_of(node: fx.Node) -> fx.Node:
    """Return the first argument of an operator."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source
