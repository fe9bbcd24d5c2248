"""A norm behind a linear layer: (s W) x + (s b + t), on input of shape (N, features) only.

A linear layer makes features on the last axis; batch norm normalizes axis 1. On (N, L, C) these
are different axes, and with L == C nothing but the number of axes tells.
"""

from typing import Any, ClassVar

from torch import Tensor, fx

from bnconvert.aten import aten
from bnconvert.folds.fold import Fold
from bnconvert.numerics.affine import Affine, fold_after_linear


class Linear(Fold):
    """Linear layers on (N, features)."""

    targets: ClassVar[frozenset[Any]] = frozenset({aten.linear.default})

    def axis_mismatch(self, producer: fx.Node, weight: Tensor) -> str | None:
        """Refuse output whose axis 1 is not the feature axis."""
        axes = producer.meta["val"].dim()
        if axes != 2:
            return (
                f"the linear layer's output has {axes} axes: the norm normalizes axis 1, "
                "the features are the last axis"
            )
        return None

    def folded(
        self, producer: fx.Node, weight: Tensor, bias: Tensor | None, affine: Affine
    ) -> tuple[Tensor, Tensor]:
        """Scale along axis 0 of the weight, (out, in)."""
        return fold_after_linear(weight, bias, affine)
