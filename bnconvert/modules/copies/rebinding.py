"""Rebind a copy: what `copy.deepcopy` shares with the original, and leads to it, is made anew.

A `forward` or a hook that was set on one object is a function, and a deep copy of it is the same
function: where its variables hold the original, the copy runs the original. So do lambdas, partial
and cached functions, methods of built-in objects (`rows.append`) and weak references.
"""

import collections
import functools
import types
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from bnconvert.modules.copies.references import (
    BUILTIN_METHODS,
    CACHED_FUNCTION,
    WEAK_CONTAINERS,
    attributes_of,
    contents_of,
    global_values,
    reaches,
    referent_of,
    writes_globals,
)

#: What a copy may share with the original, because it is immutable or `copy.deepcopy` thinks so.
_SHARED = (
    *(types.FunctionType, types.MethodType, functools.partial, CACHED_FUNCTION, tuple, frozenset),
    *(weakref.ref, *weakref.ProxyTypes, *WEAK_CONTAINERS, *BUILTIN_METHODS),
)
_OWNED = (Tensor, np.ndarray, nn.Module, list, set, dict, collections.deque)


def _may_be_shared(value: object) -> bool:
    return issubclass(type(value), _SHARED)  # a dead proxy raises where its class is asked for


class CannotRebindError(Exception):
    """Something cannot be made anew.

    Attributes:
        culprit: what it is.
    """

    def __init__(self, culprit: object, reason: str) -> None:
        """Keep the culprit, so that it can be looked for in the model."""
        super().__init__(reason)
        self.culprit = culprit


class Rebinding:
    """The rebinding of one copy; `run` it once the deep copy is made."""

    def __init__(self, memo: dict[int, Any], duplicate: Callable[[Any], Any]) -> None:
        """Prepare to rebind.

        Args:
            memo: of `copy.deepcopy`: id of the original object to its copy.
            duplicate: makes a deep copy, with the same memo, of an object outside the model.
        """
        self.memo, self.duplicate = memo, duplicate
        self._made: dict[int, Any] = {}  # by id of what it stands for: values and cells
        self._kept: list[object] = []  # what stands in `_made`, so that no id is given twice
        self._dead_ends: set[int] = set()

    def run(self) -> None:
        """Make anew, in everything that was copied, what still leads to the original.

        Raises:
            CannotRebindError: something cannot be made anew.
        """
        done: set[int] = {id(self.memo)}
        while fresh := [key for key in self.memo if isinstance(key, int) and key not in done]:
            done.update(fresh)
            self._dead_ends = {
                id(value) for value in self.memo.values() if not _may_be_shared(value)
            }
            for key in fresh:
                copied = self.memo[key]
                if key != id(copied) and type(copied) not in weakref.ProxyTypes:
                    self._rebind_parts(copied)

    def leads_to_original(self, value: object) -> bool:
        """Tell whether something that was copied can be reached from a value."""
        return reaches(value, self._is_original, self._dead_ends)

    def _is_original(self, value: object) -> bool:
        key = id(value)
        if key not in self.memo or value is self.memo:
            return False
        return self.memo[key] is not value and (
            isinstance(value, _OWNED) or hasattr(value, "__dict__")
        )

    def _rebind_parts(self, holder: Any) -> None:
        """Replace what a copied object holds, where that leads to the original."""
        if isinstance(holder, dict):
            for key, value in list(holder.items()):
                if (rebound := self._rebound(value)) is not value:
                    dict.__setitem__(holder, key, rebound)
        elif isinstance(holder, list | collections.deque):
            for index, value in enumerate(holder):
                holder[index] = self._rebound(value)
        elif isinstance(holder, set):
            for value in list(holder):
                if (rebound := self._rebound(value)) is not value:
                    holder.remove(value)
                    holder.add(rebound)
        if isinstance(holder, (*_SHARED, Tensor, np.ndarray, type)):
            return
        for name, value in attributes_of(holder):
            if (rebound := self._rebound(value)) is not value:
                if name in getattr(holder, "__dict__", ()):
                    vars(holder)[name] = rebound
                else:
                    object.__setattr__(holder, name, rebound)

    def _rebound(self, value: Any) -> Any:
        """Return what a copied object holds in the place of a value that it may share."""
        return self._counterpart(value) if _may_be_shared(value) else value

    def _counterpart(self, value: Any) -> Any:
        """Return what stands for a value in the copy; itself where it does not lead there."""
        key = id(value)
        if key in self._made:
            return self._made[key]
        if self._is_original(value):
            return self.memo[key]
        if not self.leads_to_original(value):
            return value
        made = self._make(value)
        self._made[key] = made
        self._kept.append(value)
        return made

    def _make(self, value: Any) -> Any:
        """Make the counterpart of a value that leads to the original."""
        kind, all_of = type(value), self._counterparts
        if kind in weakref.ProxyTypes or isinstance(value, weakref.ref):
            return self._weak_reference(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return types.MethodType(*all_of((value.__func__, value.__self__)))
        if isinstance(value, functools.partial):
            made = kind(*all_of((value.func, *value.args)), **self._values(value.keywords))
            vars(made).update(self._values(vars(value)))
            return made
        if isinstance(value, CACHED_FUNCTION):
            made = functools.lru_cache(**value.cache_parameters())
            return made(self._counterpart(value.__wrapped__))
        if isinstance(value, BUILTIN_METHODS):
            return getattr(self._counterpart(value.__self__), value.__name__)
        if isinstance(value, WEAK_CONTAINERS):
            return kind(all_of(value.items() if isinstance(value, Mapping) else value))
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return kind(*all_of(value))
        if isinstance(value, tuple | frozenset):
            return kind(all_of(value))
        try:
            return self.duplicate(value)
        except Exception as failure:
            raise CannotRebindError(value, str(failure)) from failure

    def _counterparts(self, values: Any) -> list[Any]:
        return [self._counterpart(value) for value in values]

    def _values(self, mapping: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._counterpart(value) for name, value in mapping.items()}

    def _weak_reference(self, value: Any) -> Any:
        """Refer to the copy; an object outside of the model stays: nobody would keep its copy."""
        referent = referent_of(value)
        if not self._is_original(referent):
            return value
        copied = self.memo[id(referent)]
        if isinstance(value, weakref.WeakMethod):
            method: Any = value()
            return weakref.WeakMethod(types.MethodType(method.__func__, copied))
        is_proxy = type(value) in weakref.ProxyTypes
        return weakref.proxy(copied) if is_proxy else weakref.ref(copied)

    def _function(self, function: types.FunctionType) -> types.FunctionType:
        """Make a function with the same code and other variables."""
        cells = function.__closure__
        made = types.FunctionType(
            function.__code__,
            self._globals(function),
            function.__name__,
            None,
            None if cells is None else tuple(map(self._cell, cells)),
        )
        self._made[id(function)] = made  # before what it refers to, which may be itself
        self._kept.append(function)
        for cell in cells or ():
            copied = self._made.get(id(cell))
            if copied is not None and contents_of(copied) is None:
                copied.cell_contents = self._counterpart(cell.cell_contents)
        if isinstance(made.__globals__, _Globals):
            made.__globals__.update(
                {name: self._counterpart(made.__globals__[name]) for name in made.__globals__.own}
            )
        functools.update_wrapper(made, function, updated=())
        del made.__wrapped__  # type: ignore[attr-defined]
        made.__defaults__ = function.__defaults__ and tuple(
            self._counterparts(function.__defaults__)
        )
        made.__kwdefaults__ = function.__kwdefaults__ and self._values(function.__kwdefaults__)
        vars(made).update(self._values(vars(function)))
        return made

    def _cell(self, cell: types.CellType) -> types.CellType:
        """Return the variable of a closure; a new one, still empty, where it must differ."""
        if id(cell) not in self._made and self.leads_to_original(contents_of(cell)):
            self._made[id(cell)] = types.CellType()
            self._kept.append(cell)
        found: types.CellType = self._made.get(id(cell), cell)
        return found

    def _globals(self, function: types.FunctionType) -> dict[str, Any]:
        """Return the globals of a rebound function; those that lead to the original are its own."""
        names = [name for name, value in global_values(function) if self.leads_to_original(value)]
        if not names:
            return function.__globals__
        if writes_globals(function.__code__):
            reason = f"it assigns global variables and reads {', '.join(names)}"
            raise CannotRebindError(function, reason)
        if foreign := [name for name in names if "." in name]:
            raise CannotRebindError(function, f"it reads {', '.join(foreign)} of another file")
        return _Globals(names, function.__globals__)


class _Globals(dict[str, Any]):
    """The globals of a rebound function: some of its own, all others as they are at the time."""

    def __init__(self, own: list[str], rest: dict[str, Any]) -> None:
        names = [*own, "__name__", "__builtins__"]
        super().__init__({name: rest[name] for name in names if name in rest})
        self.own, self.rest = own, rest

    def __missing__(self, name: str) -> Any:
        return self.rest[name]
