"""Typed access to a model's submodules, which torch knows only as `Tensor | Module`."""

from typing import TypeVar

from torch import nn

Part = TypeVar("Part", bound=nn.Module)


def submodule(model: nn.Module, path: str, kind: type[Part]) -> Part:
    """Return the submodule at a dotted path ("" for the model itself), which is of this class."""
    module = model.get_submodule(path)
    assert isinstance(module, kind)
    return module
