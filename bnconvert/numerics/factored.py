"""A tensor times factors, multiplied out when its numbers are asked for.

Whether a layer's weight can take a scale depends on its shape, and on whether the product stays
finite, which its largest number tells: none of that needs the product.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

#: A bound on products that is so far below the largest number of a dtype is sure.
_SURELY = 0.99


@dataclass(frozen=True, eq=False)
class Factored:
    """A tensor times factors in float64.

    Attributes:
        stored: the tensor, in any floating-point dtype.
        factors: float64, broadcast against it, in the order in which they are multiplied.
    """

    stored: Tensor
    factors: tuple[Tensor, ...] = ()

    @property
    def shape(self) -> torch.Size:
        """The shape of the product."""
        return self.stored.shape

    def dim(self) -> int:
        """Return its number of axes."""
        return self.stored.dim()

    def __mul__(self, factor: Tensor) -> "Factored":
        """Return it with one factor more, which has as many axes and no larger size."""
        return Factored(self.stored, (*self.factors, factor))

    def numbers(self) -> Tensor:
        """Return the product in float64, without a gradient."""
        product = self.stored.detach().double()
        for factor in self.factors:
            product = product * factor
        return product

    def is_finite_in(self, dtype: torch.dtype) -> bool:
        """Tell whether every number of the product is finite once it is rounded to `dtype`."""
        largest = _largest(self.stored)
        for factor in self.factors:
            largest = largest * _largest(factor)
        if largest < _SURELY * torch.finfo(dtype).max:
            return True  # and where it is NaN, or larger than any product: count
        return bool(torch.isfinite(self.numbers().to(dtype)).all())


def _largest(tensor: Tensor) -> float:
    """Return the largest |number|; NaN where there is one, or no number at all."""
    if not tensor.numel():
        return float("nan")
    low, high = torch.aminmax(tensor.detach())
    return float(torch.maximum(low.abs(), high.abs()))
