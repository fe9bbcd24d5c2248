"""What Python objects refer to: where reading or calling one of them can lead.

`copy.deepcopy` follows attributes and containers. Functions, weak references and built-in methods
are constants to it, although what a function reads may hold the very model that is copied.
"""

import collections
import dis
import functools
import sys
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

#: The types of cached functions: `functools.lru_cache` and `functools.cache`.
CACHED_FUNCTION: Any = type(functools.lru_cache(lambda: None))
#: Methods of built-in objects, such as `rows.append`.
BUILTIN_METHODS = (types.BuiltinMethodType, types.MethodWrapperType)
WEAK_CONTAINERS = (weakref.WeakSet, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
WEAK_REFERENCES: tuple[Any, ...] = (weakref.ref, *weakref.ProxyTypes, *WEAK_CONTAINERS)
CONTAINERS = (list, tuple, set, frozenset, dict, collections.deque)
#: Refer to nothing that a model could be found by.
_CONSTANTS = (
    *(type(None), bool, int, float, complex, str, bytes, bytearray, range, slice, type),
    *(types.CodeType, types.ModuleType, types.GeneratorType, fx.Graph, fx.Node),
    *(Tensor, np.ndarray, np.generic, torch.UntypedStorage, torch.dtype, torch.device),
)
MOST = 50_000  # objects that a search for references enters
_SIMPLE = frozenset((type(None), bool, int, float, str, bytes, type, types.ModuleType))
_EMPTY = frozenset((list, tuple, set, dict, collections.OrderedDict))
_STANDARD = sys.stdlib_module_names - {
    "builtins", "collections", "types", "argparse", "functools", "weakref"
}  # fmt: skip
#: Packages whose functions read no model from their globals.
_LIBRARIES = _STANDARD | {"torch", "numpy", "bnconvert"}


def referents(value: Any) -> Iterator[object]:
    """Yield what an object refers to directly; of a function what its code can read."""
    follow = _follower_of(_kind(value))
    return iter(()) if follow is None else follow(value)


@functools.lru_cache(4096)
def _follower_of(kind: type) -> Callable[[Any], Iterator[object]] | None:
    """Return the function that yields what objects of a type refer to; None for constants."""
    if kind in weakref.ProxyTypes or issubclass(kind, weakref.ref):
        return lambda value: iter((referent_of(value),))
    if issubclass(kind, _CONSTANTS):
        return None
    if issubclass(kind, types.FunctionType):
        return _of_function
    if issubclass(kind, types.MethodType):
        return lambda value: iter((value.__func__, value.__self__))
    if issubclass(kind, functools.partial):
        return _of_partial
    if issubclass(kind, BUILTIN_METHODS):
        return lambda value: iter((value.__self__,))
    if issubclass(kind, WEAK_CONTAINERS):
        return _of_weak_container
    if issubclass(kind, CACHED_FUNCTION):
        return lambda value: iter((value.__wrapped__,))
    return _of_instance


def referent_of(reference: Any) -> object:
    """Return what a weak reference or proxy is to, of a method its object; None if it is gone."""
    if type(reference) in weakref.ProxyTypes:
        try:
            return getattr(reference.__init__, "__self__", None)
        except ReferenceError:
            return None
    value = reference()
    return getattr(value, "__self__", None) if isinstance(reference, weakref.WeakMethod) else value


def reaches(
    value: object, is_target: Callable[[object], bool], dead_ends: set[int], most: int = MOST
) -> bool:
    """Tell whether anything that satisfies a predicate can be reached from a value.

    Args:
        value: where to begin; it counts itself.
        is_target: the predicate.
        dead_ends: as for `reached_from`.
        most: likewise.
    """
    return any(map(is_target, reached_from(value, dead_ends, most)))


def reached_from(value: object, dead_ends: set[int], most: int = MOST) -> Iterator[object]:
    """Yield a value and everything that can be reached from it.

    Args:
        value: where to begin.
        dead_ends: ids of objects that are not entered; at the end, those that were are added.
        most: how many objects are entered: a global variable may lead to all that a process has.
    """
    seen: set[int] = set()
    pending = [value]
    while pending and len(seen) < most:
        current = pending.pop()
        if id(current) in seen or id(current) in dead_ends:
            continue
        yield current
        if _follower_of(_kind(current)) is not None:
            seen.add(id(current))
            pending.extend(value for value in referents(current) if can_lead(value))
    dead_ends |= seen


def can_lead(value: Any) -> bool:
    """Tell, quickly, whether a value may refer to anything; most attributes do not."""
    return type(value) not in _SIMPLE and (type(value) not in _EMPTY or bool(value))


def contained_in(root: object) -> Iterator[Any]:
    """Yield a value and everything that a deep copy of it would have to copy, or would share."""
    seen: set[int] = set()
    pending = [root]
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if not _is_shared_by_copies(_kind(current)):
            pending.extend(value for value in referents(current) if can_lead(value))


@functools.lru_cache(4096)
def _is_shared_by_copies(kind: type) -> bool:
    functions = (types.FunctionType, CACHED_FUNCTION, *BUILTIN_METHODS)
    return kind in weakref.ProxyTypes or issubclass(
        kind, (*functions, weakref.ref, *WEAK_CONTAINERS)
    )


@functools.lru_cache(4096)
def globals_read_by(code: types.CodeType) -> frozenset[str]:
    """Return the names of the global variables that code reads, nested functions included."""
    loads = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
    inner = (globals_read_by(c) for c in code.co_consts if isinstance(c, types.CodeType))
    return frozenset(loads).union(*inner)


@functools.lru_cache(4096)
def writes_globals(code: types.CodeType) -> bool:
    """Tell whether code assigns to global variables."""
    own = any(i.opname in ("STORE_GLOBAL", "DELETE_GLOBAL") for i in dis.get_instructions(code))
    return own or any(writes_globals(c) for c in code.co_consts if isinstance(c, types.CodeType))


def contents_of(cell: types.CellType) -> object:
    """Return what a variable of a closure holds; None where nothing is assigned yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def attributes_of(value: object) -> Iterator[tuple[str, object]]:
    """Yield an instance's own attributes, those in slots too."""
    yield from list(getattr(value, "__dict__", {}).items())
    for name in _slots_of(_kind(value)):
        if hasattr(value, name):
            yield name, getattr(value, name)


@functools.lru_cache(4096)
def _slots_of(kind: type) -> tuple[str, ...]:
    listed = (vars(owner).get("__slots__", ()) for owner in kind.__mro__)
    names = (name for slots in listed for name in ((slots,) if isinstance(slots, str) else slots))
    return tuple(name for name in names if not name.startswith("__"))


def global_values(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the global variables that a function reads, but no functions of other files.

    Those of another file (`registry.backbone`) have the file's name before their own.
    """
    if is_of_library(function):
        return
    found = {name: function.__globals__.get(name) for name in globals_read_by(function.__code__)}
    for name, value in [*found.items()]:
        if isinstance(value, types.ModuleType) and not is_of_library(value):
            held = vars(value)
            found |= {f"{name}.{a}": held[a] for a in function.__code__.co_names if a in held}
    own = function.__globals__
    for name, value in found.items():
        if not isinstance(value, types.FunctionType) or value.__globals__ is own:
            yield name, value


def can_lead_elsewhere(value: object) -> bool:
    """Tell whether a deep copy shares an object that may refer to anything else."""
    if not _is_shared_by_copies(_kind(value)):
        return False
    if isinstance(value, types.FunctionType):
        return not is_of_library(value) or any(True for _ in _of_function(value))
    return True


def is_of_library(owner: object) -> bool:
    """Tell whether a function, class or module is of a package that knows no models of users."""
    return _package(owner) in _LIBRARIES


def _package(owner: object) -> str:
    name = vars(owner)["__name__"] if isinstance(owner, types.ModuleType) else None
    return str(name or getattr(owner, "__module__", None)).partition(".")[0]


def _of_function(function: types.FunctionType) -> Iterator[object]:
    yield from map(contents_of, function.__closure__ or ())
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield from vars(function).values()
    yield from (value for _, value in global_values(function))


def _of_partial(value: functools.partial[Any]) -> Iterator[object]:
    yield from (value.func, *value.args, *value.keywords.values(), *vars(value).values())


def _of_weak_container(value: Any) -> Iterator[object]:
    for item in value.items() if isinstance(value, Mapping) else value:
        yield from item if isinstance(item, tuple) else (item,)


def _of_instance(value: object) -> Iterator[object]:
    if isinstance(value, dict | types.MappingProxyType):
        yield from value
        yield from value.values()
    elif isinstance(value, CONTAINERS):
        yield from value
    if type(value) not in CONTAINERS and (
        isinstance(value, nn.Module) or _package(type(value)) not in _STANDARD
    ):
        yield from (inner for _, inner in attributes_of(value))


def _kind(value: object) -> Any:
    """Return the type of a value; Any, because the cache asks for something hashable."""
    return type(value)
