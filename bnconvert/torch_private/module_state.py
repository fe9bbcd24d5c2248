"""All that a module holds, for a successor of another class: attributes, tensors, children, hooks.

Stands in for a public way to change the class of a module and keep everything else. Known to work
since torch 2.10.
"""

from collections.abc import Set
from typing import Any

from torch import nn

_TABLES = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")

_OWN_TABLES = frozenset(vars(nn.Module()))


def state_without(module: nn.Module, names: Set[str]) -> dict[str, Any]:
    """Return the instance's state without some attributes, parameters, buffers and children.

    The tables of parameters, buffers and children are copies, what is in them is not. The tables
    of hooks are the same objects, so that a hook's handle still removes it.
    """
    state = {name: value for name, value in vars(module).items() if name not in names}
    return state | {table: _without(state[table], names) for table in _TABLES}


def is_own_table(name: str) -> bool:
    """Tell whether an attribute is one that torch gives every module, and not its author."""
    return name in _OWN_TABLES


def is_tree_table(name: str) -> bool:
    """Tell whether an attribute is a table of parameters, buffers or children."""
    return name in _TABLES


def _without(table: Any, names: Set[str]) -> Any:
    if isinstance(table, dict):
        return {name: value for name, value in table.items() if name not in names}
    return table - names
