"""Norms that plain attributes hold: in a list, a dict, a helper object or a closure.

torch does not see them there: no mode, parameter, state_dict or conversion reaches them.
"""

import functools
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from types import FunctionType, MethodType

import numpy as np
import torch
from torch import Tensor, nn

from bnconvert.modules.kinds import Kind, norms_in
from bnconvert.torch_private.module_state import is_own_table

_DEPTH = 4
_ITEMS = 1000  # of one container; norms are few, data may be many


def unregistered_norms(model: nn.Module) -> Iterator[tuple[str, str, nn.Module, Kind]]:
    """Yield the norms that the module tree does not hold: owner's path, place, module, kind.

    The place reads like a path: `block.norms.0` for the first of the list `norms` of `block`.
    """
    registered = {id(module) for module in model.modules()}
    seen = set(registered)
    for owner_path, owner in list(model.named_modules()):
        if isinstance(owner, torch.jit.ScriptModule):
            continue  # closed, and reported as such
        for name, value in vars(owner).items():
            if is_own_table(name):
                continue
            for place, module in _modules_in(value, name, _DEPTH, seen):
                for path, norm, kind in norms_in(module):
                    if id(norm) not in registered:  # a trainer holds what wraps the model
                        whole = ".".join(filter(None, (owner_path, place, path)))
                        yield owner_path, whole, norm, kind


def _modules_in(
    value: object, place: str, depth: int, seen: set[int]
) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules in a value that were not seen before, each with its place."""
    if type(value) in weakref.ProxyTypes:
        with suppress(ReferenceError):  # of what is there no more
            if isinstance(value, nn.Module):  # a proxy is another object than its module
                yield from _modules_in(next(value.modules()), place, depth, seen)
        return
    if isinstance(value, str | bytes | int | float | complex | None | type | Tensor | np.ndarray):
        return
    if not depth or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, nn.Module):
        seen.update(id(module) for module in value.modules())
        yield place, value
        return
    for name, item in _items_of(value):
        yield from _modules_in(item, f"{place}.{name}", depth - 1, seen)


def _items_of(value: object) -> Iterator[tuple[object, object]]:
    """Yield what a container, a function or a plain object refers to, by name."""
    if isinstance(value, dict):
        yield from list(value.items())[:_ITEMS]
    elif isinstance(value, list | tuple | set | frozenset | deque):
        yield from enumerate(list(value)[:_ITEMS])
    elif isinstance(value, functools.partial):
        yield from enumerate((value.func, *value.args, *value.keywords.values()))
    elif isinstance(value, MethodType):
        yield value.__name__, value.__self__
    elif isinstance(value, FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        yield from ((name, cell.cell_contents) for name, cell in cells if _is_filled(cell))
    elif hasattr(value, "__dict__"):
        yield from list(vars(value).items())[:_ITEMS]


def _is_filled(cell: object) -> bool:
    return hasattr(cell, "cell_contents")
