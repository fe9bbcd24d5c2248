"""Propagation of a scale and a shift, up into producers or down into consumers; it looks only."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain

from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.activations import Activation
from bnconvert.folding.operators.addition import Sum, summands_of
from bnconvert.folding.operators.affine import AffineRule, read_affine
from bnconvert.folding.operators.bounds import Bound
from bnconvert.folding.operators.concatenation import Concatenation
from bnconvert.folding.operators.conv import Conv
from bnconvert.folding.operators.conv_transpose import ConvTranspose
from bnconvert.folding.operators.graph_plan import GraphPlan, Verdict, combined
from bnconvert.folding.operators.linear import Linear
from bnconvert.folding.operators.matrix_product import MatrixProduct
from bnconvert.folding.operators.multiplication import Product
from bnconvert.folding.operators.operator_rule import OperatorRule, repeats
from bnconvert.folding.operators.padding import Padding
from bnconvert.folding.operators.pooling import Pooling
from bnconvert.folding.operators.resizing import Resizing, Shuffling
from bnconvert.folding.operators.slicing import Slicing, Split
from bnconvert.folding.operators.views import Permutation, Repetition, Reshaping
from bnconvert.folding.operators.weighted_rule import WeightedRule
from bnconvert.graphs.aten import argument, consumers_of, describe, names_of
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.channel_map import ChannelMap

#: Every rule, beside that of operators that are maps themselves.
OPERATOR_RULES: tuple[OperatorRule, ...] = (
    Conv(),
    ConvTranspose(),
    Linear(),
    MatrixProduct(),
    Sum(),
    Product(),
    Activation(),
    Bound(),
    Pooling(),
    Concatenation(),
    Slicing(),
    Split(),
    Reshaping(),
    Permutation(),
    Repetition(),
    Resizing(),
    Shuffling(),
    Padding(),
)
_BY_TARGET = {target: rule for rule in OPERATOR_RULES for target in rule.targets}
_AFFINE = AffineRule()
#: Where sums divide and meet again and again, the ways through them double with each. The map of
#: a norm in a real network takes a few hundred steps at most.
_MOST_STEPS = 1_000
#: A search this far away from a norm ends: each step calls about nine functions inside of each
#: other, and Python allows a thousand.
_MOST_DEPTH = 60
_TOO_FAR = Refusal(
    "too-far", f"the layers to fold it into are more than {_MOST_DEPTH} operators away"
)
#: An addition is not taken back in more other consumers than that: it saves one addition at most,
#: and each of the many norms that read one value would ask about all others.
_MOST_CONSUMERS = 100
_REPEATS = Refusal("dynamic-size", "it varies along an axis whose size is dynamic")
_TOO_MANY_WAYS = Refusal(
    "too-many-ways",
    f"sums around it divide and meet so often that the search for layers to fold it into was "
    f"ended after {_MOST_STEPS:,} steps",
)


class MapPropagator:
    """Hands a map from operator to operator of one graph, until layers absorb it or one refuses."""

    def __init__(
        self,
        graph: MutableGraph,
        *,
        tied_weights_agree: bool = False,
        refused_by: dict[fx.Node, fx.Node] | None = None,
    ) -> None:
        """Look at `graph`.

        Args:
            graph: it is not changed.
            tied_weights_agree: as in `Propagator`.
            refused_by: for a value, the consumer that refused an addition last. It is asked
                first, and noted; who asks again in a changed graph may give what was noted.
        """
        self.graph = graph
        self.tied_weights_agree = tied_weights_agree
        self._refused_by = {} if refused_by is None else refused_by
        self._open: set[fx.Node] = set()
        self._steps = self._depth = 0

    def into_producer(self, value: fx.Node, consumer: fx.Node, output_map: ChannelMap) -> Verdict:
        """Return how `value` can reach its only `consumer` mapped, or the refusal.

        Where there are other consumers, an addition may be taken back in each of them.
        """
        if output_map.is_identity:
            return GraphPlan()
        others = consumers_of(value) - {consumer}
        if not others:
            return self.absorb_output_map(value, output_map)
        refusal = Refusal("other-consumers", f"its input is also read by {names_of(others)}")
        if output_map.scales or value in self._open or len(others) > _MOST_CONSUMERS:
            return refusal
        self._open.add(value)
        try:
            back = self._take_back(value, others, output_map.mirrored())
            plan = combined(chain([self.absorb_output_map(value, output_map)], back))
        finally:
            self._open.discard(value)
        given_up = plan in (_TOO_MANY_WAYS, _TOO_FAR)
        return refusal if isinstance(plan, Refusal) and not given_up else plan

    def _take_back(
        self, value: fx.Node, consumers: set[fx.Node], input_map: ChannelMap
    ) -> Iterator[Verdict]:
        """Yield how each consumer can take back an addition, the one that may refuse it first.

        Each of many norms that read one value asks about all others: without that order, all of
        them are asked each time until the one is reached that refuses.
        """
        first = self._refused_by.get(value)
        rest = (user for user in value.users if user in consumers and user is not first)
        for consumer in chain([first] if first in consumers else [], rest):
            verdict = self._consume(consumer, value, input_map)
            if isinstance(verdict, Refusal):
                self._refused_by[value] = consumer
            yield verdict

    def absorb_output_map(self, node: fx.Node, output_map: ChannelMap) -> Verdict:
        """Return how the operator `node` can compute its output mapped, or the refusal."""
        if output_map.is_identity:
            return GraphPlan()
        return self._step(partial(self._absorb, node, output_map))

    def _absorb(self, node: fx.Node, output_map: ChannelMap) -> Verdict:
        rule = rule_of(self.graph, node)
        if rule is None:
            made = "a constant" if node.op == "get_attr" else describe(node)
            return Refusal(
                "no-layer-upstream",
                f"its input is made by {made}, not by a convolution or a linear layer",
            )
        if not rule.takes_repeating and repeats(node, output_map):
            return _REPEATS
        return rule.absorb_output_map(self, node, output_map)

    def into_consumers(self, value: fx.Node, input_map: ChannelMap) -> Verdict:
        """Return how all consumers can compute the same from `value` unmapped, or the refusal."""
        if input_map.is_identity:
            return GraphPlan()
        consumers = sorted(consumers_of(value), key=lambda node: node.name)
        return combined(self._consume(consumer, value, input_map) for consumer in consumers)

    def _consume(self, consumer: fx.Node, value: fx.Node, input_map: ChannelMap) -> Verdict:
        return self._step(partial(self._feed, consumer, value, input_map))

    def _feed(self, consumer: fx.Node, value: fx.Node, input_map: ChannelMap) -> Verdict:
        rule = rule_of(self.graph, consumer)
        if rule is None:
            return Refusal("no-layer-downstream", f"{describe(consumer)} reads it")
        if not rule.takes_repeating and repeats(value, input_map):
            return _REPEATS
        verdict = rule.absorb_input_map(self, consumer, value, input_map)
        if isinstance(verdict, Refusal) and isinstance(rule, WeightedRule):
            return replace(verdict, text=f"{describe(consumer)} reads it: {verdict.text}")
        return verdict

    def _step(self, search: Callable[[], Verdict]) -> Verdict:
        """Do a step of a search, or refuse where there were too many; the first begins anew."""
        self._steps = self._steps + 1 if self._depth else 1
        if self._steps > _MOST_STEPS:
            return _TOO_MANY_WAYS
        if self._depth == _MOST_DEPTH:
            return _TOO_FAR
        self._depth += 1
        try:
            verdict = search()
        finally:
            self._depth -= 1
        ended = self._steps > _MOST_STEPS and not self._depth
        return _TOO_MANY_WAYS if ended and isinstance(verdict, Refusal) else verdict


def rule_of(graph: MutableGraph, node: fx.Node) -> OperatorRule | None:
    """Return the rule of an operator, or None where no map passes it."""
    if node.op != "call_function":
        return None
    if node.target in _AFFINE.targets and read_affine(graph, node) is not None:
        return _AFFINE
    rule = _BY_TARGET.get(node.target)
    if isinstance(rule, Sum | Product) and not all(isinstance(a, fx.Node) for a in node.args[:2]):
        return None  # of a number that makes it no map: an infinite one, or one of another dtype
    if isinstance(rule, Sum) and not _sums_tensors(node):
        return None
    return rule


def _sums_tensors(node: fx.Node) -> bool:
    """Tell whether a sum is of two tensors, with a factor that is no computed number either.

    `y + x.shape[0]` and `y + z.item()` are not, nor is `torch.add(y, z, alpha=x.shape[0])`.
    """
    tensors = all(isinstance(value.meta.get("val"), Tensor) for value in summands_of(node))
    return tensors and not isinstance(argument(node, "alpha"), fx.Node)
