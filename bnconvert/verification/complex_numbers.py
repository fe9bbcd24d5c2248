"""Complex numbers in a file: ONNX has none; real and imaginary parts are a last axis of 2."""

import torch
from torch import Tensor


def in_real_numbers(value: Tensor) -> Tensor:
    """Return a tensor as a file holds it.

    Args:
        value: of any shape.

    Returns:
        The tensor itself; of complex numbers, real ones of shape (*value.shape, 2).
    """
    return torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
