"""Transposed convolutions: the same algebra on other axes of the weight.

The weight is (in, out/groups, ...): output channel g * (out/groups) + j is axis 1, column j, of
the input channels of group g only. Scaling axis 0, or axis 1 across the groups, is wrong.

Of an input map only the multiplication moves, even without padding: how many windows overlap, and
so how often an addition counts, differs from place to place.
"""

from typing import Any, ClassVar

from torch import fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.conv import channel_axis, other_axis
from bnconvert.folding.operators.graph_plan import Verdict
from bnconvert.folding.operators.operator_rule import OperatorRule, Propagator
from bnconvert.folding.operators.weights import reweighted, weights_of
from bnconvert.graphs.aten import argument, aten
from bnconvert.numerics.channel_map import ChannelMap
from bnconvert.numerics.linear_maps import transposed_with_input_scale, transposed_with_output_map


class ConvTranspose(OperatorRule):
    """Transposed convolutions in one, two and three dimensions, with groups."""

    targets: ClassVar[frozenset[Any]] = frozenset(
        {
            aten.conv_transpose1d.default,
            aten.conv_transpose2d.input,
            aten.conv_transpose3d.input,
        }
    )

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Scale along axis 1 of the weight, group by group."""
        found = weights_of(propagator.graph, node)
        if isinstance(found, Refusal):
            return found
        weight, bias = found
        groups = int(argument(node, "groups"))
        axis = channel_axis(node, weight.dim())
        vectors = output_map.vectors(axis, weight.shape[1] * groups)
        if vectors is None:
            return other_axis(output_map, axis)
        return reweighted(
            propagator, node, *transposed_with_output_map(weight, bias, *vectors, groups)
        )

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Scale along axis 0 of the weight; refuse an addition."""
        if node.args[0] is not source:
            return Refusal("not-the-input", "it is the weight of a convolution")
        found = weights_of(propagator.graph, node)
        if isinstance(found, Refusal):
            return found
        weight, bias = found
        if input_map.shifts:
            return Refusal(
                "addition-does-not-pass", "a transposed convolution: its windows overlap unequally"
            )
        axis = channel_axis(source, weight.dim())
        vectors = input_map.vectors(axis, weight.shape[0])
        if vectors is None:
            return other_axis(input_map, axis)
        return reweighted(propagator, node, transposed_with_input_scale(weight, vectors[0]), bias)
