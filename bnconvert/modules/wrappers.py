"""Wrappers around a whole model: parallel and compiled ones, and what they hold."""

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from bnconvert.torch_private.compilation import is_compiled


def unwrapped(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the model inside of wrappers, and how it is reached from the outermost one.

    Args:
        model: wrapped by DistributedDataParallel, DataParallel or torch.compile, or not at all.

    Returns:
        The model, and the attributes that lead to it, such as ("module",); () where nothing
        wraps it.
    """
    steps: list[str] = []
    while isinstance(model, nn.Module) and (step := _step(model)):
        model = model.get_submodule(step)
        steps.append(step)
    return model, tuple(steps)


def _step(model: nn.Module) -> str:
    """Return the attribute under which a wrapper holds its model; "" where it is none."""
    if isinstance(model, DataParallel | DistributedDataParallel):
        return "module"
    return "_orig_mod" if is_compiled(model) else ""
