"""Whether `torch.func` (vmap, grad, jvp, ...) or forward-mode differentiation transforms a forward.

Stands in for a public way to ask. Known to work since torch 2.10.
"""

import torch
from torch import Tensor
from torch.autograd import forward_ad


def is_transformed(*tensors: Tensor) -> bool:
    """Tell whether plain operators must be used, which every transform knows; a compiler asks not.

    Args:
        *tensors: what is computed with; batched backward passes (`is_grads_batched=True`) can only
            be seen on them.
    """
    if torch.compiler.is_compiling():
        return False
    return (
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or any(torch._C._functorch.is_legacy_batchedtensor(tensor) for tensor in tensors)
    )


def level_of(tensor: Tensor) -> int:
    """Return the innermost transform that a tensor takes part in, counted from 1; 0 for none."""
    return max(torch._C._functorch.maybe_get_level(tensor), 0)
