"""Gradient checkpointing: detect a recomputed forward, and one that differs from the first.

Stands in for public ways to ask whether a backward pass is running, and whether what the forward
saves is compared. Known to work since torch 2.10.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from bnconvert.torch_private.function_transforms import is_transformed


def is_recomputation() -> bool:
    """Tell whether this forward runs in a backward pass."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def is_unguarded_recomputation() -> bool:
    """Tell whether this forward runs in a backward pass without anyone comparing what it saves.

    That is torch's reentrant checkpointing. The other kind, `use_reentrant=False`, compares the
    tensors that both forwards save; see `with_recomputation_key`.
    """
    return is_recomputation() and torch._C._autograd._top_saved_tensors_default_hooks(False) is None


def checkpointed_region() -> int | None:
    """Return what tells one checkpointed region (`use_reentrant=False`) from others; None outside.

    It does while the region runs.
    """
    hooks: Any = torch._C._autograd._top_saved_tensors_default_hooks(False)
    return None if hooks is None else id(hooks[0])


def with_recomputation_key(x: Tensor, key: int) -> Tensor:
    """Return `x`; a checkpointed recomputation with another key then raises.

    An empty tensor whose shape is the key is saved for the backward pass, and torch's checkpoint
    raises CheckpointError where a recomputation saves another shape.
    """
    if torch.compiler.is_compiling() or not (torch.is_grad_enabled() and x.requires_grad):
        return x
    if is_transformed(x):
        return x
    if torch._C._autograd._top_saved_tensors_default_hooks(False) is None:
        return x  # nobody would compare
    mark: Callable[..., Tensor] = _Mark.apply
    return mark(x, key)


class _Mark(Function):
    @staticmethod
    def forward(x: Tensor, key: int) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0].new_empty(inputs[1], 0))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        _ = ctx.saved_tensors  # unpacked, so that a checkpoint compares it
        return gradient, None
