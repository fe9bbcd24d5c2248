"""A norm behind a transposed convolution: the same algebra on another axis of the weight.

The weight is (in, out/groups, ...): output channel g * (out/groups) + j is axis 1, column j, of
the input channels of group g only. Scaling axis 0, or axis 1 across the groups, is wrong.
"""

from typing import Any, ClassVar

from torch import Tensor, fx

from bnconvert.aten import argument, aten
from bnconvert.folds.conv import batch_axis_missing
from bnconvert.folds.fold import Fold
from bnconvert.numerics.affine import Affine, fold_after_conv_transpose


class ConvTranspose(Fold):
    """Transposed convolutions in one, two and three dimensions, with groups."""

    targets: ClassVar[frozenset[Any]] = frozenset(
        {
            aten.conv_transpose1d.default,
            aten.conv_transpose2d.input,
            aten.conv_transpose3d.input,
        }
    )

    def axis_mismatch(self, producer: fx.Node, weight: Tensor) -> str | None:
        """Refuse unbatched input, whose output has its channels on axis 0."""
        return batch_axis_missing(producer, weight)

    def folded(
        self, producer: fx.Node, weight: Tensor, bias: Tensor | None, affine: Affine
    ) -> tuple[Tensor, Tensor]:
        """Scale along axis 1 of the weight, group by group."""
        return fold_after_conv_transpose(weight, bias, affine, int(argument(producer, "groups")))
