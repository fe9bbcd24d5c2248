"""Activations that are positively homogeneous: f(s x) = s f(x) for s > 0.

ReLU, leaky ReLU and PReLU are; ReLU6, GELU, SiLU and all others are not. An addition passes none.
"""

from typing import Any, ClassVar

from torch import fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.graph_plan import Verdict
from bnconvert.folding.operators.operator_rule import OperatorRule, Propagator, input_of
from bnconvert.graphs.aten import aten
from bnconvert.numerics.channel_map import ChannelMap


class Activation(OperatorRule):
    """ReLU and its leaky relatives, and the absolute value."""

    targets: ClassVar[frozenset[Any]] = frozenset(
        {
            aten.relu.default,
            aten.leaky_relu.default,
            aten.prelu.default,
            aten.abs.default,
        }
    )

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Propagate a positive scale into the producer."""
        return _refusal(node, output_map) or propagator.into_producer(
            input_of(node), node, output_map
        )

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Propagate a positive scale into the consumers."""
        if node.args[0] is not source:
            return Refusal("not-the-input", "it is the slope of an activation")
        return _refusal(node, input_map) or propagator.into_consumers(node, input_map)


def _refusal(node: fx.Node, change: ChannelMap) -> Refusal | None:
    name = str(node.target).split(".")[1]
    if not change.is_positive:
        return Refusal(
            "scale-not-positive", f"an activation ({name}): only positive scales pass it"
        )
    if change.shifts:
        return Refusal(
            "addition-does-not-pass", f"an activation ({name}): an addition does not pass it"
        )
    return None
