"""How often a tensor was changed in place, as autograd counts it.

Stands in for a public way to notice that somebody wrote into a tensor. Known to work since torch
2.10.
"""

from torch import Tensor


def version_of(tensor: Tensor) -> int | None:
    """Return the count of in-place changes; None for inference tensors, which have none."""
    return None if tensor.is_inference() else tensor._version
