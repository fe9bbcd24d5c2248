"""Copies of a module that callbacks of its trainer hold and average tensor by tensor."""

from collections.abc import Iterable, Iterator, Mapping

from torch import nn
from torch.optim.swa_utils import AveragedModel

from bnconvert.errors import UnsupportedModelError
from bnconvert.reporting.table import listed


def require_alike(
    callbacks: Iterable[object], module: nn.Module, edits: Mapping[str, nn.Module], remedy: str
) -> None:
    """Raise where a callback holds a copy of a module whose tensors would no longer be its own.

    Averages pair the tensors of both by their order, so that one more or less in a norm shifts
    all that come after it.

    Args:
        callbacks: of the trainer.
        module: in which norms are about to be replaced.
        edits: by path, what replaces them.
        remedy: what the error message advises.

    Raises:
        UnsupportedModelError: with the name of the callback.
    """
    for callback in callbacks:
        for holder in _copies_in(callback, module):
            averages_buffers = isinstance(holder, AveragedModel)
            names = _names if averages_buffers else _parameter_names
            before = {path: names(module.get_submodule(path)) for path in edits}
            changed = [path for path, new in edits.items() if names(new) != before[path]]
            copied = holder.get_submodule("module") if averages_buffers else holder
            if changed and names(copied) == names(module):
                raise UnsupportedModelError(
                    f"{type(callback).__name__}: holds a copy of the module as it is before "
                    f"{listed(changed)} is converted, and would average other tensors with those "
                    f"of the new norms; {remedy}"
                )


def _copies_in(callback: object, module: nn.Module) -> Iterator[nn.Module]:
    """Yield the copies that a callback holds, torch's averages as they are."""
    for held in vars(callback).values():
        if isinstance(held, AveragedModel) or type(held) is type(module):
            yield held


def _names(module: nn.Module) -> list[str]:
    return [*_parameter_names(module), *(name for name, _ in module.named_buffers())]


def _parameter_names(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_parameters()]
