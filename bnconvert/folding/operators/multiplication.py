"""Products of computed values, such as gates: s (x g) = (s x) g. An addition does not pass."""

from typing import Any, ClassVar

from torch import fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.addition import fits
from bnconvert.folding.operators.graph_plan import GraphPlan, Verdict
from bnconvert.folding.operators.operator_rule import OperatorRule, Propagator, sizes_of
from bnconvert.graphs.aten import aten
from bnconvert.numerics.channel_map import ChannelMap


class Product(OperatorRule):
    """Multiplications of two computed values."""

    targets: ClassVar[frozenset[Any]] = frozenset({aten.mul.Tensor})

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Scale one of the factors."""
        if output_map.shifts:
            return Refusal(
                "addition-does-not-pass", "a product of two values: an addition does not pass it"
            )
        refusal = Refusal("broadcast", "a product of two values, neither of which can be scaled")
        factors = [arg for arg in node.args[:2] if isinstance(arg, fx.Node)]
        if len(factors) != 2 or factors[0] is factors[1]:
            return Refusal("value-used-twice", "it multiplies a value by itself")
        for factor in factors:
            if fits(factor, output_map):
                plan = propagator.into_producer(factor, node, output_map)
                if isinstance(plan, GraphPlan):
                    return plan
                refusal = plan
        return refusal

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Propagate a scale into the consumers."""
        if input_map.shifts:
            return Refusal(
                "addition-does-not-pass",
                "a product with another value: an addition does not pass it",
            )
        if node.args[0] is node.args[1]:
            return Refusal("value-used-twice", "it multiplies a value by itself")
        return propagator.into_consumers(node, input_map.lifted(len(sizes_of(node))))
