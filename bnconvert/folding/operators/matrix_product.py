"""Products of two computed matrices, as in attention: A (s V + t) = s (A V) + t where A averages.

A scale of the result's columns goes into the right matrix, one of its rows into the left:
(s A) V = s (A V). An addition to the columns passes where each row of the left matrix sums to one,
which a softmax over its last axis makes so.
"""

from typing import Any, ClassVar

from torch import fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.addition import fits
from bnconvert.folding.operators.graph_plan import Verdict
from bnconvert.folding.operators.operator_rule import OperatorRule, Propagator, sizes_of
from bnconvert.graphs.aten import argument, aten, describe
from bnconvert.numerics.channel_map import ChannelMap


class MatrixProduct(OperatorRule):
    """Matrix products of two computed values, one for each entry of a batch."""

    targets: ClassVar[frozenset[Any]] = frozenset({aten.matmul.default, aten.bmm.default})
    takes_repeating: ClassVar[bool] = True

    def absorb_output_map(
        self, propagator: Propagator, node: fx.Node, output_map: ChannelMap
    ) -> Verdict:
        """Propagate a map of the columns into the right matrix, a scale of the rows to the left."""
        left, right = node.args[:2]
        if not isinstance(left, fx.Node) or not isinstance(right, fx.Node) or left is right:
            return Refusal("value-used-twice", "it multiplies a matrix by itself")
        rows = output_map.axes - 2
        of_columns = rows >= 0 and not output_map.varies_along(rows)
        of_rows = rows >= 0 and not output_map.varies_along(rows + 1)
        if output_map.shifts and not (of_columns and _averages(left)):
            return Refusal(
                "addition-does-not-pass", "a product of two matrices: an addition does not pass it"
            )
        if of_columns and fits(right, output_map):
            return propagator.into_producer(right, node, output_map)
        if of_rows and not output_map.shifts and fits(left, output_map):
            return propagator.into_producer(left, node, output_map)
        return Refusal("broadcast", "a product of two matrices, neither of which can be scaled")

    def absorb_input_map(
        self, propagator: Propagator, node: fx.Node, source: fx.Node, input_map: ChannelMap
    ) -> Verdict:
        """Refuse: what is scaled here is no input of a layer."""
        return Refusal("no-layer-downstream", f"{describe(node)} reads it")


def _averages(matrix: fx.Node) -> bool:
    """Tell whether each row of a matrix sums to one, as after a softmax over its last axis.

    A row without numbers, which an axis of dynamic size may have, sums to zero.
    """
    sizes = sizes_of(matrix)
    if matrix.target is not aten.softmax.int or not sizes:
        return False
    last = argument(matrix, "dim") % len(sizes) == len(sizes) - 1
    return bool(last and isinstance(sizes[-1], int) and sizes[-1] > 0)
