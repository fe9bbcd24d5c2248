"""Padding: by reflection, replication or wrapping it commutes with every map of the channels.

With a constant p, the map makes s p + t of it, which the padding can give itself where that is one
number for all channels.
"""

from typing import Any, ClassVar

from torch import fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.graph_plan import GraphPlan, Repadded, Verdict
from bnconvert.folding.operators.operator_rule import OperatorRule, Propagator, input_of, sizes_of
from bnconvert.graphs.aten import argument, aten
from bnconvert.numerics.channel_map import ChannelMap, reduced

_CONSTANT = aten.constant_pad_nd.default


class Padding(OperatorRule):
    """Padding of any mode."""

    targets: ClassVar[frozenset[Any]] = frozenset(
        {
            aten.pad.default,
            _CONSTANT,
            aten.reflection_pad1d.default,
            aten.reflection_pad2d.default,
            aten.reflection_pad3d.default,
            aten.replication_pad1d.default,
            aten.replication_pad2d.default,
            aten.replication_pad3d.default,
        }
    )

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Propagate the map into the producer; the constant is mapped too."""
        if refusal := _varying(node, output_map):
            return refusal
        plan = propagator.into_producer(input_of(node), node, output_map)
        constant = _constant_of(node)
        if isinstance(plan, Refusal) or constant is None:
            return plan
        mapped = reduced(output_map.scale * constant + output_map.shift)
        if mapped.numel() > 1:
            return BORDER
        return _with_constant(node, float(mapped), constant, plan)

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Propagate the map into the consumers; the constant becomes what is mapped to it."""
        if refusal := _varying(node, input_map):
            return refusal
        plan = propagator.into_consumers(node, input_map)
        constant = _constant_of(node)
        if isinstance(plan, Refusal) or constant is None:
            return plan
        if bool((input_map.scale == 0).any()):
            return Refusal("scale-is-zero", "padding of a value that is multiplied by zero")
        mapped = reduced((constant - input_map.shift) / input_map.scale)
        if mapped.numel() > 1:
            return BORDER
        return _with_constant(node, float(mapped), constant, plan)


BORDER = Refusal(
    "border", "padding with one constant: at the border each channel would need its own"
)


def _with_constant(node: fx.Node, value: float, old: float, plan: GraphPlan) -> Verdict:
    return plan if value == old else plan.with_plan(GraphPlan((Repadded(node, value),)))


def _constant_of(node: fx.Node) -> float | None:
    """Return with which number an operator pads; None where it pads with what is there."""
    if node.target is aten.pad.default and argument(node, "mode") != "constant":
        return None
    if node.target in (aten.pad.default, _CONSTANT):
        return float(argument(node, "value") or 0.0)
    return None


def _varying(node: fx.Node, change: ChannelMap) -> Refusal | None:
    axes = len(sizes_of(node))
    amounts = node.args[1]
    assert isinstance(amounts, list | tuple)
    padded = [axes - 1 - i // 2 for i, amount in enumerate(amounts) if amount != 0]
    if any(change.varies_along(axis) for axis in padded):
        return Refusal("other-axis", "it varies along an axis that is padded")
    return None
