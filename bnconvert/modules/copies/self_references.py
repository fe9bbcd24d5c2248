"""Where a model refers to itself from outside of its attributes: in the code of its classes."""

import types
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from bnconvert.modules.copies.references import contents_of, global_values, is_of_library, reaches

#: How many objects are looked at from the code of all classes, at every copy. What lies deeper is
#: noticed when a copy runs the model itself.
_MOST_OBJECTS = 5_000


def forward_that_names_model(model: nn.Module, copies: Mapping[int, Any]) -> tuple[str, str] | None:
    """Find a class whose forward reads the very model, from a global variable or a closure.

    Every instance shares that code: also the forward of a copy reads the original.

    Args:
        model: looked at only.
        copies: what was copied: id of the original to its copy.

    Returns:
        The path of the module, and the variable; None where there is none.
    """

    def is_original(value: object) -> bool:
        return isinstance(value, nn.Module | Tensor) and (copies.get(id(value), value) is not value)

    dead_ends: set[int] = set()
    seen: set[type] = set()
    for path, module in model.named_modules():
        owner = type(module)
        if owner in seen or is_of_library(owner):
            continue
        seen.add(owner)
        for function in forwards_of(owner):
            for name, value in variables_of(function):
                most = max(_MOST_OBJECTS - len(dead_ends), 0)
                if reaches(value, is_original, dead_ends, most):
                    return path or "(root)", name
    return None


def holder_of(model: nn.Module, culprit: object) -> str:
    """Return the path of the module, and the attribute, through which an object is reached."""
    modules = {id(module) for module in model.modules()}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if reaches(value, lambda other: other is culprit, set(modules)):
                return f"{path}.{name}".lstrip(".")
    return type(model).__name__


def forwards_of(owner: type) -> Iterator[types.FunctionType]:
    """Yield the forward of a class, and its methods that this calls."""
    pending, seen = ["forward"], set()
    while pending:
        name = pending.pop()
        function = getattr(owner, name, None)
        if name in seen or not isinstance(function, types.FunctionType):
            continue
        seen.add(name)
        if not is_of_library(function):
            yield function
            pending.extend(function.__code__.co_names)


def variables_of(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the variables of a closure, and the globals, that a function reads."""
    yield from global_values(function)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield name, contents_of(cell)
