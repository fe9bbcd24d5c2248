"""Keep a model as it is while copies of it run: refuse calls of its own modules, undo changes.

A copy may reach its original in ways that nobody can see before it runs (a registry of modules, a
variable of another file), and what a forward or a hook writes into a dictionary outside of the
model, a capture would fill with the tensors of its trace.
"""

import collections
import functools
import operator
import threading
import types
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bnconvert.errors import UnsupportedModelError
from bnconvert.modules.ambient_modes import writing_to
from bnconvert.modules.copies.references import (
    CACHED_FUNCTION,
    contained_in,
    is_of_library,
    referents,
)
from bnconvert.modules.surgery import instances_in

_MUTABLE = (list, dict, set, collections.deque)
_ENTERED = (types.MethodType, functools.partial, CACHED_FUNCTION, tuple)
_NOT_ENTERED = (nn.Module, Tensor, type, types.ModuleType)
_REMEDY = (
    "let its forward and hooks use self, the module that they are given, or attributes of the model"
)

#: How many objects are looked at: a global variable may lead to all that a process has.
_MOST_OBJECTS = 10_000


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Run copies of a model inside of this context; the model is as before at its end.

    Raises:
        UnsupportedModelError: a copy ran a module of the model itself.
    """
    with restored(model), refusing_calls(model):
        yield


@contextmanager
def restored(model: nn.Module, changing: Iterable[Tensor] = ()) -> Iterator[None]:
    """Undo, at the end of this context, what changes inside of it.

    That is attributes, modes, buffers, tensors and arrays among the attributes, and the containers
    that functions and classes of the model reach. Cached functions that they call forget what they
    have learned.

    Args:
        model: what is restored; it, or replicas that share its buffers, run inside the context.
        changing: the buffers that are meant to change.
    """
    kept = _State(model, changing)
    try:
        yield
    finally:
        kept.restore()


@contextmanager
def refusing_calls(model: nn.Module) -> Iterator[None]:
    """Let no module of the model itself be called inside of this context.

    Raises:
        UnsupportedModelError: one was called.
    """
    guard = _Guard(model)
    eager = (m for m in model.modules() if not isinstance(m, torch.jit.ScriptModule))
    handles = [m.register_forward_pre_hook(guard, prepend=True) for m in eager]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        guard.paths, called = {}, guard.called
        if called is not None:
            raise guard.error(called)


class _Guard:
    """A hook before the forward of a model's modules, which raises; inert in copies of them."""

    def __init__(self, model: nn.Module) -> None:
        self.paths = {id(module): path for path, module in model.named_modules()}
        self.called: str | None = None
        self._thread = threading.get_ident()  # the user's others may run the model meanwhile

    def __call__(self, module: nn.Module, inputs: Any) -> None:
        """Note and refuse the call, where the module is one of the model."""
        if id(module) not in self.paths or threading.get_ident() != self._thread:
            return
        path = self.paths[id(module)] or "(root)"
        self.called = self.called or path
        raise self.error(path)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Guard":
        """Return the guard itself: a copied module is none that it knows."""
        return self

    def error(self, path: str) -> UnsupportedModelError:
        """Return the error that says which module was called."""
        return UnsupportedModelError(
            f"{path}: a copy of the model calls this module of the model itself; {_REMEDY}"
        )


class _State:
    """What a model, and the functions of its objects and classes, hold: none of it may change."""

    def __init__(self, model: nn.Module, changing: Iterable[Tensor]) -> None:
        meant = {id(buffer) for buffer in changing}
        arrays = {id(array): array for array in _arrays_of(model) if id(array) not in meant}
        self.arrays = [_SavedArray(array) for array in arrays.values()]
        self.containers: dict[int, tuple[Any, list[Any]]] = {}
        self.caches: dict[int, tuple[Any, int]] = {}
        for module in model.modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue  # its tables are views of C++ objects
            for table in (vars(module), module._buffers, module._parameters, module._modules):
                self.containers[id(table)] = table, _contents(table)
        for value in _outside(model):
            if isinstance(value, CACHED_FUNCTION):
                self.caches[id(value)] = value, value.cache_info().currsize
            else:
                self.containers[id(value)] = value, _contents(value)

    def restore(self) -> None:
        """Write back what has changed."""
        for container, contents in self.containers.values():
            now = _contents(container)
            if len(now) != len(contents) or any(map(operator.is_not, now, contents)):
                _refill(container, contents)
        for cached, size in self.caches.values():
            if cached.cache_info().currsize != size:
                cached.cache_clear()
        for array in self.arrays:
            array.restore()


class _SavedArray:
    """A tensor or an array, and the numbers that it had."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.before = array.detach().clone() if isinstance(array, Tensor) else array.copy()

    def restore(self) -> None:
        """Write the numbers back, in place, where they changed.

        They are compared: batch norm in training mode writes without raising a tensor's version.
        """
        array, before = self.array, self.before
        if not isinstance(array, Tensor):
            array[...] = before
        elif array.shape != before.shape or not torch.equal(array, before):
            with writing_to(array):
                array.resize_(before.shape).copy_(before)  # observers change shapes too


def _arrays_of(model: nn.Module) -> Iterator[Any]:
    """Yield the buffers, and the tensors and arrays among the plain attributes."""
    for module in model.modules():
        found: list[Any] = [*module.buffers(recurse=False)]
        if not isinstance(module, torch.jit.ScriptModule):
            for name, value in vars(module).items():
                if not name.startswith("_"):
                    found += instances_in(value, (Tensor, np.ndarray))
        for array in found:
            if _may_change(array) and not isinstance(array, nn.Parameter):
                yield array


def _may_change(array: Any) -> bool:
    """Tell whether there are numbers, which a forward can change; not in a file on the disk."""
    if isinstance(array, Tensor):
        return not (array.is_meta or nn.parameter.is_lazy(array))
    return bool(array.flags.writeable) and not isinstance(array, np.memmap)


def _outside(model: nn.Module) -> Iterator[Any]:
    """Yield the containers and caches that functions of the model's objects and classes reach."""
    seen: set[int] = set()
    pending: list[Any] = [
        value for value in contained_in(model) if isinstance(value, types.FunctionType)
    ]
    for owner in {kind for module in model.modules() for kind in type(module).__mro__}:
        if not is_of_library(owner):
            pending.extend(vars(owner).values())
    while pending and len(seen) < _MOST_OBJECTS:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if issubclass(type(value), (CACHED_FUNCTION, *_MUTABLE)):
            yield value
        pending.extend(_reached_from(value))


def _reached_from(value: Any) -> Iterable[object]:
    """Return where a function, a container or an instance of a user's class leads to."""
    kind = type(value)
    if kind in weakref.ProxyTypes or issubclass(kind, _NOT_ENTERED):
        return ()
    if issubclass(kind, property):
        return (value.fget,)
    if issubclass(kind, classmethod | staticmethod):
        return (value.__func__,)
    if issubclass(kind, functools.cached_property):
        return (value.func,)
    if issubclass(kind, types.FunctionType):
        return () if is_of_library(value) else referents(value)
    if issubclass(kind, (*_ENTERED, *_MUTABLE)):
        return referents(value)
    if is_of_library(kind) or not isinstance(getattr(value, "__dict__", None), dict):
        return ()
    return (value.__dict__,)


def _contents(container: Any) -> list[Any]:
    """Return what a container holds; of a dictionary its keys, and then its values."""
    return [*container, *container.values()] if isinstance(container, dict) else list(container)


def _refill(container: Any, contents: list[Any]) -> None:
    """Give a container its contents back."""
    container.clear()
    if isinstance(container, dict):
        half = len(contents) // 2
        container.update(zip(contents[:half], contents[half:], strict=True))
    elif isinstance(container, set):
        container.update(contents)
    else:
        container.extend(contents)
