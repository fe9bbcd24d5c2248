"""The modes of modules, training or eval, kept while somebody sets others."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def kept_modes(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Give each module the mode back that it had, at the end of this context."""
    before = [(module, module.training) for module in modules]
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
