"""What the code of a forward mentions, for modules that cannot be traced."""

import functools
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from torch import nn

_DEPTH = 4


def names_in_forward(module: nn.Module) -> frozenset[str]:
    """Return the names that a module's forward mentions, and the functions that it calls by name.

    Methods of its class and functions that it calls are followed, but not into torch; other
    modules that it calls are not.
    """
    owner: Any = type(module)  # mypy holds modules for unhashable
    if owner.__module__.partition(".")[0] == "torch":
        return frozenset()
    forward = inspect.unwrap(vars(module).get("forward", owner.forward))
    return _names(owner, getattr(forward, "__func__", forward))


@functools.lru_cache(maxsize=1024)
def _names(owner: type, function: object) -> frozenset[str]:
    return frozenset(_mentioned(owner, function, _DEPTH, set()))


def _mentioned(owner: type, function: object, depth: int, seen: set[object]) -> Iterator[str]:
    if not depth or not isinstance(function, FunctionType) or function in seen:
        return
    seen.add(function)
    names = set(_names_in_code(function.__code__))
    yield from names
    for name in names:
        methods = (vars(base).get(name) for base in owner.__mro__)  # super() calls any of them
        for callee in (*methods, function.__globals__.get(name)):
            if not str(getattr(callee, "__module__", "")).startswith("torch."):
                yield from _mentioned(owner, callee, depth - 1, seen)


def _names_in_code(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in_code(constant)
