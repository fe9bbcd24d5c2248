"""The modes that modules have in training, while a trainer has all of them in eval mode."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn

from bnconvert.modules.modes import kept_modes


def modes_of(model: nn.Module) -> dict[str, bool]:
    """Return by path which modules are in training mode.

    By path: a callback that held norms themselves would keep them from conversion.
    """
    return {path: module.training for path, module in model.named_modules()}


@contextmanager
def in_modes(model: nn.Module, modes: Mapping[str, bool]) -> Iterator[None]:
    """Set modules to modes inside of this context, and set them back."""
    with kept_modes(model.modules()):
        for path, module in model.named_modules():
            module.training = modes.get(path, module.training)
        yield
