"""Which tensor a view is a view of, as autograd knows it.

Stands in for a public way to ask it. Known to work since torch 2.10.
"""

from torch import Tensor


def base_of(tensor: Tensor) -> Tensor | None:
    """Return the tensor whose memory a view shows; None for a tensor of its own."""
    base: Tensor | None = tensor._base
    return base
