"""All that a module holds, for a successor of another class: attributes, tensors, children, hooks.

Stands in for a public way to change the class of a module and keep everything else. Known to work
since torch 2.13.
"""

from collections.abc import Set
from functools import cache
from typing import Any

from torch import nn

_TABLES = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")


def state_without(module: nn.Module, names: Set[str]) -> dict[str, Any]:
    """Return the instance's state without some attributes, parameters, buffers and children.

    The tables of parameters, buffers and children are copies, what is in them is not. The tables
    of hooks are the same objects, so that a hook's handle still removes it.
    """
    state = {name: value for name, value in vars(module).items() if name not in names}
    return state | {table: _without(state[table], names) for table in _TABLES}


def is_own_table(name: str) -> bool:
    """Tell whether an attribute is one that torch gives every module, and not its author."""
    return name in _own_tables()


@cache
def _own_tables() -> frozenset[str]:
    return frozenset(vars(nn.Module()))


def _without(table: Any, names: Set[str]) -> Any:
    if isinstance(table, dict):
        return {name: value for name, value in table.items() if name not in names}
    return table - names
