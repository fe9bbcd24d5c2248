"""Tensors that are drawn at random, like given ones."""

import torch
from torch import Tensor

_TABLE = 2  # axes
_ROWS = 4  # of a table, all different: from so many on its columns have several values


def drawn_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a tensor: normal with another's mean and deviation, or of its values.

    Columns of whole numbers, which may be categories of several kinds, have their own values.

    Args:
        tensor: the other.
        generator: draws the numbers.
    """
    if not tensor.is_floating_point():
        return _of_values(tensor, generator)
    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64, device="cpu")
    spread = tensor.double().std(correction=0) if tensor.numel() else 0.0
    numbers = (noise.to(tensor.device) * spread + tensor.double().mean()).to(tensor)
    if tensor.dim() != _TABLE or not tensor.numel():
        return numbers
    whole = (tensor == tensor.round()).all(0)
    return torch.where(whole, _by_columns(tensor, generator), numbers)


def _of_values(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a tensor of another's values."""
    if _is_table(tensor):
        return _by_columns(tensor, generator)
    values = tensor.flatten()
    count = max(values.numel(), 1)
    picks = torch.randint(count, tensor.shape, generator=generator, device="cpu")
    return values[picks] if values.numel() else tensor.clone()


def _is_table(tensor: Tensor) -> bool:
    """Tell whether a tensor is a table with enough rows that differ to draw by its columns."""
    if tensor.dim() != _TABLE or tensor.is_complex():
        return False
    distinct: Tensor = torch.unique(tensor, dim=0)
    return len(distinct) >= _ROWS


def _by_columns(table: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a table of another's numbers, each from its column."""
    picks = torch.randint(len(table), table.shape, generator=generator, device="cpu")
    return table.gather(0, picks.to(table.device))
