"""Copies of a model whose parameters are not copied as they are: in float64, or not at all."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bnconvert.modules.copies.copying import copy_with


def copy_in_double(model: nn.Module) -> nn.Module:
    """Return `copy_model(model).double()`, of which no weight is copied in its own precision first.

    Raises:
        UnsupportedModelError: an attribute of the model cannot be copied.
    """
    weights = [p for p in model.parameters() if type(p) is nn.Parameter and p.is_floating_point()]
    double = {id(p): nn.Parameter(p.detach().to(torch.float64, copy=True)) for p in weights}
    for parameter in weights:
        double[id(parameter)].requires_grad_(parameter.requires_grad)
    return copy_with(model, double).double()


def copy_viewing_parameters(model: nn.Module, but: Iterable[Tensor] = ()) -> nn.Module:
    """Return a copy with Parameters of its own, whose numbers lie where the model's do.

    It takes no memory for them, and is right for who writes to none. Buffers are copied, and so
    are parameters that are a part of a larger tensor, or of a class of their own.

    Args:
        model: any module, which is not changed as long as the copy is in use.
        but: parameters that are copied too, because they will be written to.

    Raises:
        UnsupportedModelError: an attribute of the model cannot be copied.
    """
    copied = {id(parameter) for parameter in but}
    seen = [p for p in model.parameters() if id(p) not in copied and _is_all_of_its_memory(p)]
    views = {id(p): nn.Parameter(p.detach(), p.requires_grad) for p in seen}
    return copy_with(model, views)


def _is_all_of_its_memory(parameter: Tensor) -> bool:
    if type(parameter) is not nn.Parameter or parameter.is_inference():
        return False
    plain = parameter.layout is torch.strided and not parameter.is_quantized
    return plain and parameter.untyped_storage().nbytes() == parameter.nbytes
