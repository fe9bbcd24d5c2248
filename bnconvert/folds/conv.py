"""A norm behind a convolution: y = s * (W * x + b) + t = (s W) * x + (s b + t).

Holds for every kernel, stride, padding and padding mode, dilation and number of groups, because
the map acts on the output channel alone, which is axis 0 of the weight: (out, in/groups, ...).
"""

from typing import Any, ClassVar

from torch import Tensor, fx

from bnconvert.aten import argument, aten
from bnconvert.folds.fold import Fold
from bnconvert.numerics.affine import Affine, fold_after_linear


class Conv(Fold):
    """Convolutions in one, two and three dimensions."""

    targets: ClassVar[frozenset[Any]] = frozenset(
        {
            aten.conv1d.default,
            aten.conv2d.default,
            aten.conv3d.default,
            aten.conv1d.padding,
            aten.conv2d.padding,
            aten.conv3d.padding,
            aten.convolution.default,
        }
    )

    def axis_mismatch(self, producer: fx.Node, weight: Tensor) -> str | None:
        """Refuse unbatched input, whose output has its channels on axis 0."""
        if producer.target is aten.convolution.default and argument(producer, "transposed"):
            return "it is a transposed convolution in a lowered form"
        return batch_axis_missing(producer, weight)

    def folded(
        self, producer: fx.Node, weight: Tensor, bias: Tensor | None, affine: Affine
    ) -> tuple[Tensor, Tensor]:
        """Scale along axis 0 of the weight."""
        return fold_after_linear(weight, bias, affine)


def batch_axis_missing(producer: fx.Node, weight: Tensor) -> str | None:
    """Return the reason where a convolution ran on input without a batch axis."""
    if producer.meta["val"].dim() != weight.dim():
        return "the convolution has no batch axis: the norm's axis 1 is not its channels"
    return None
