"""The conditions on sizes under which a captured program is right, as torch.export found them.

Stands in for a public list of a program's guards, which are dropped when it is written as a file,
and for a public way to add some, and to say what to do where one does not hold. Known to work since
torch 2.10.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.export import ExportedProgram

_CHECKS = "_guards_fn"  # torch's name for the submodule
_OF_STRIDES = re.compile(r"(?:!= 1|> 1)$|\)\*\(| < .*L\[")
_FITS = re.compile(r"^L\S+\.size\(\)\[[1-9]\d*\] >= \d+$")
_INDEXED_BY_32_BITS = re.compile(r" <= 2147483647$")
_SAME_AXIS = re.compile(r"^L\S+\.size\(\)\[\d+\] == L\S+\.size\(\)\[\d+\]$")

_FIXED = re.compile(r"^(?:\d+ == L\S+\.size\(\)\[\d+\]|L\S+\.size\(\)\[\d+\] == \d+)$")


def size_guards(program: ExportedProgram) -> tuple[str, ...]:
    """Return the conditions as Python, such as "L['x'].size()[0] % 8 == 0".

    Without those that torch adds for strides and broadcasting, that no inner size is 1, those that
    inputs have the same batch size, those that a kernel fits, and those that choose how torch 2.10
    counts elements.
    """
    guards = program._guards_code or ()
    plain = _OF_STRIDES, _FITS, _INDEXED_BY_32_BITS, _SAME_AXIS
    return tuple(guard for guard in guards if not any(kind.search(guard) for kind in plain))


def add_guards(program: ExportedProgram, guards: Iterable[str]) -> None:
    """Add conditions, written as `size_guards` returns them, to those of a program.

    Modules that are made of the program from now on check them too.
    """
    program._guards_code.extend(guards)


def guards_of(graph: nn.Module) -> nn.Module | None:
    """Return the submodule with which a captured graph checks its conditions, if it has one."""
    return getattr(graph, _CHECKS, None)


def replace_guards(graph: nn.Module, checks: nn.Module) -> None:
    """Let a captured graph check its conditions by another submodule, called with its inputs."""
    setattr(graph, _CHECKS, checks)


def broken_guard(guards: Iterable[str], arguments: Mapping[str, Any]) -> str | None:
    """Return the first condition that does not hold for a call, in words, or None.

    A condition that cannot be evaluated counts as one that holds.

    Args:
        guards: of `size_guards`.
        arguments: of the call, by the names of the parameters.
    """
    names = {"L": dict(arguments), "math": math}
    for guard in guards:
        try:
            holds = bool(eval(guard, {"__builtins__": {}}, names))  # torch wrote it, no user did
        except Exception:
            continue
        if not holds:
            return in_words(guard)
    return None


def without_fixed(guards: Iterable[str]) -> tuple[str, ...]:
    """Return the conditions, of `size_guards`, that say more than which size an axis has."""
    return tuple(guard for guard in guards if not _FIXED.search(guard))


def in_words(guard: str) -> str:
    """Return a condition as a reader would write it: "x.shape[0] % 8 == 0"."""
    return re.sub(r"\bL\['(\w+)'\]", r"\1", guard).replace(".size()[", ".shape[")
