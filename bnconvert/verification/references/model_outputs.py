"""A model's outputs as a file has them: a flat list of tensors on the CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.graphs.example import Example
from bnconvert.verification.complex_numbers import in_real_numbers


def outputs_of(model: nn.Module, example: Example, count: int | None = None) -> list[Tensor]:
    """Run the model on a copy of the example; return its outputs as a file has them, on the CPU.

    Args:
        model: in eval mode.
        example: the inputs.
        count: how many outputs are expected; where the model returns as many only together with
            plain numbers (int, float), these are returned as tensors too.
    """
    with torch.no_grad():
        result = model(*example.map(Tensor.clone).args, **example.map(Tensor.clone).kwargs)
    values = (torch.as_tensor(leaf, device="cpu") for leaf in leaves_of(result, count))
    return [in_real_numbers(value) for value in values]


def leaves_of(result: Any, count: int | None) -> list[Any]:
    """Return the tensors of a result; its plain numbers too where they are `count` together."""
    leaves = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor | int | float)]
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    return leaves if len(leaves) == count else tensors
