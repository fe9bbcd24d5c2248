"""A minimum or maximum with a constant: s min(x, c) + t = min(s x + t, s c + t) for s > 0."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.addition import fits
from bnconvert.folding.operators.graph_plan import Edit, GraphPlan, Replacements, Verdict
from bnconvert.folding.operators.operator_rule import OperatorRule, Propagator
from bnconvert.graphs.aten import aten
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.channel_map import ChannelMap

_COMPUTED = Refusal("not-affine", "a minimum or maximum of two computed values")
_CANCELS = Refusal(
    "addition-does-not-pass",
    "a minimum or maximum with a constant: the addition is too large beside the constant",
)
_LARGE = 64  # times the bound: six bits of its digits are lost


@dataclass(frozen=True, eq=False)
class Rebounded(Edit):
    """A minimum or maximum with another constant.

    Attributes:
        position: which of the two arguments the constant is.
        bound: the constant, in float64.
    """

    position: int
    bound: Tensor

    def apply(self, graph: MutableGraph) -> Replacements:
        """Compare with a constant of its own."""
        old = self.node.args[self.position]
        assert isinstance(old, fx.Node)
        dtype = self.node.meta["val"].dtype
        if graph.sharers(self.node, old):
            new = graph.add_constant(self.node, "bound", self.bound, dtype)
            self.node.update_arg(self.position, new)
        else:
            graph.set_constant(old, self.bound)
            old.meta["val"] = torch.empty(self.bound.shape, dtype=dtype, device="meta")
        return {}


class Bound(OperatorRule):
    """Minima and maxima with a constant."""

    targets: ClassVar[frozenset[Any]] = frozenset({aten.minimum.default, aten.maximum.default})

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Propagate a positive scale into the producer; the constant is mapped too."""
        found = _read(propagator.graph, node, output_map)
        if isinstance(found, Refusal):
            return found
        source, position, bound = found
        plan = propagator.into_producer(source, node, output_map)
        if isinstance(plan, Refusal):
            return plan
        return _with_bound(node, position, output_map.scale * bound + output_map.shift, plan)

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Propagate a positive scale into the consumers; the constant is mapped back."""
        found = _read(propagator.graph, node, input_map)
        if isinstance(found, Refusal):
            return found
        _, position, bound = found
        # What is bounded equals the bound exactly; beside a much larger shift, it would be the
        # difference of two large numbers.
        if bool((input_map.shift.abs() > _LARGE * bound.abs().max()).any()):
            return _CANCELS
        plan = propagator.into_consumers(node, input_map)
        if isinstance(plan, Refusal):
            return plan
        return _with_bound(node, position, (bound - input_map.shift) / input_map.scale, plan)


def _read(
    graph: MutableGraph, node: fx.Node, change: ChannelMap
) -> tuple[fx.Node, int, Tensor] | Refusal:
    """Return what is bounded, which argument the constant is, and the constant in float64.

    Or why a change of what is bounded does not pass.
    """
    for position, other in ((1, 0), (0, 1)):
        constant, source = graph.constant(node.args[position]), node.args[other]
        if constant is None or not isinstance(source, fx.Node) or source.op == "get_attr":
            continue
        made = node.meta["val"]
        axes = made.dim()
        if made.dtype != source.meta["val"].dtype or not constant.dtype.is_floating_point:
            return _COMPUTED
        if constant.dim() > axes or source.meta["val"].shape != made.shape:
            return Refusal("broadcast", "a minimum or maximum that makes its input larger")
        if refusal := _refusal(source, change):
            return refusal
        return source, position, constant.reshape(*[1] * (axes - constant.dim()), *constant.shape)
    return _COMPUTED


def _with_bound(node: fx.Node, position: int, bound: Tensor, plan: GraphPlan) -> Verdict:
    dtype = node.meta["val"].dtype
    if not bool(torch.isfinite(bound.to(dtype)).all()):
        return Refusal("composition-overflows", f"the constant would leave the range of {dtype}")
    return plan.with_plan(GraphPlan((Rebounded(node, position, bound),)))


def _refusal(source: fx.Node, change: ChannelMap) -> Refusal | None:
    if not change.is_positive:
        said = "a minimum or maximum with a constant: only positive scales pass it"
        return Refusal("scale-not-positive", said)
    if not fits(source, change):
        return Refusal("broadcast", "a minimum or maximum that makes its input larger")
    return None
