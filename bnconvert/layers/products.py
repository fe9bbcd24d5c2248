"""Products of computed values, such as gates: s (x g) = (s x) g. An addition does not pass."""

from typing import Any, ClassVar

from torch import fx

from bnconvert.graphs.aten import aten
from bnconvert.layers.layer import Layer, Route, sizes_of
from bnconvert.layers.plan import Plan
from bnconvert.layers.sums import fits
from bnconvert.numerics.channel_map import ChannelMap


class Product(Layer):
    """Multiplications of two computed values."""

    targets: ClassVar[frozenset[Any]] = frozenset({aten.mul.Tensor})

    def behind(self, route: Route, node: fx.Node, wanted: ChannelMap) -> Plan | str:
        """Scale one of the factors."""
        if wanted.shifts:
            return "a product of two values: an addition does not pass it"
        refusal = "a product of two values, neither of which can be scaled"
        factors = [arg for arg in node.args[:2] if isinstance(arg, fx.Node)]
        if len(factors) != 2 or factors[0] is factors[1]:
            return "it multiplies a value by itself"
        for factor in factors:
            if fits(factor, wanted):
                plan = route.upward(factor, node, wanted)
                if isinstance(plan, Plan):
                    return plan
                refusal = plan
        return refusal

    def ahead(self, route: Route, node: fx.Node, source: fx.Node, owed: ChannelMap) -> Plan | str:
        """Hand a multiplication on."""
        if owed.shifts:
            return "a product with another value: an addition does not pass it"
        if node.args[0] is node.args[1]:
            return "it multiplies a value by itself"
        return route.downward(node, owed.lifted(len(sizes_of(node))))
