"""Transposed convolutions: the same algebra on other axes of the weight.

The weight is (in, out/groups, ...): output channel g * (out/groups) + j is axis 1, column j, of
the input channels of group g only. Scaling axis 0, or axis 1 across the groups, is wrong.

Of an input map only the multiplication moves, even without padding: how many windows overlap, and
so how often an addition counts, differs from place to place.
"""

from typing import Any, ClassVar

from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.conv import channel_axis
from bnconvert.folding.operators.weighted_rule import WeightedRule
from bnconvert.folding.operators.weights import Weights
from bnconvert.graphs.aten import argument, aten
from bnconvert.numerics.factored import Factored
from bnconvert.numerics.linear_maps import transposed_with_input_scale, transposed_with_output_map

_OVERLAP = Refusal(
    "addition-does-not-pass", "a transposed convolution: its windows overlap unequally"
)


class ConvTranspose(WeightedRule):
    """Transposed convolutions in one, two and three dimensions, with groups."""

    targets: ClassVar[frozenset[Any]] = frozenset(
        {
            aten.conv_transpose1d.default,
            aten.conv_transpose2d.input,
            aten.conv_transpose3d.input,
        }
    )

    noun: ClassVar[str] = "a convolution"
    channels_first: ClassVar[bool] = False

    def addition_obstacle(self, node: fx.Node) -> Refusal | None:
        """Refuse every addition."""
        return _OVERLAP

    def output_channels(self, node: fx.Node, weight: Factored) -> tuple[int, int]:
        """Return them: axis 1 of the weight, in each group."""
        groups = int(argument(node, "groups"))
        return channel_axis(node, weight.dim()), weight.shape[1] * groups

    def input_channels(self, node: fx.Node, source: fx.Node, weight: Factored) -> tuple[int, int]:
        """Return them: axis 0 of the weight."""
        return channel_axis(source, weight.dim()), weight.shape[0]

    def with_output_map(
        self, node: fx.Node, weights: Weights, scale: Tensor, shift: Tensor
    ) -> Weights:
        """Scale along axis 1 of the weight, group by group."""
        return transposed_with_output_map(*weights, scale, shift, int(argument(node, "groups")))

    def with_input_map(
        self, node: fx.Node, weights: Weights, scale: Tensor, shift: Tensor
    ) -> Weights:
        """Scale along axis 0 of the weight; nothing is shifted."""
        return transposed_with_input_scale(weights[0], scale), weights[1]
