"""What torch knows of an ATen operator: its schema, what it changes, its functional counterpart.

Stands in for a public description of operators. Known to work since torch 2.10.
"""

from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch._ops import HigherOrderOperator, OpOverload


def is_operator(target: object) -> TypeGuard[OpOverload[..., Any]]:
    """Tell whether a node's target is an operator, and not a function or a method of Python."""
    return isinstance(target, OpOverload)


def calls_subgraphs(target: object) -> bool:
    """Tell whether a node's target is an operator on graphs, such as `torch.cond`."""
    return isinstance(target, HigherOrderOperator)


def name_of(operator: Any) -> str:
    """Return an operator's name without its overload, such as "aten::add_"."""
    return str(operator._schema.name)


def base_name(operator: Any) -> str:
    """Return an operator's name without its namespace and its overload, such as "add_"."""
    return name_of(operator).partition("::")[2]


def formals_of(operator: Any) -> Any:
    """Return the formal arguments in order, each with `name` and `default_value`."""
    return operator._schema.arguments


def changes_its_inputs(operator: Any) -> bool:
    """Tell whether an operator writes into any tensor that it is given."""
    return bool(operator._schema.is_mutable)


def changes_further_inputs(operator: Any) -> bool:
    """Tell whether an operator writes into another argument than the first."""
    further = operator._schema.arguments[1:]
    return any(formal.alias_info and formal.alias_info.is_write for formal in further)


def may_return_its_inputs(operator: Any) -> bool:
    """Tell whether an operator may return a view of a tensor that it is given, or that tensor."""
    return any(formal.alias_info for formal in operator._schema.arguments)


def reads_numbers(operator: Any) -> bool:
    """Tell whether an operator hands numbers of a tensor to Python, as `item` does."""
    return torch.Tag.data_dependent_output in operator.tags


def shapes_by_numbers(operator: Any, args: Sequence[Any]) -> bool:
    """Tell whether numbers of a tensor may decide how large a result is, as with `nonzero`.

    Operators that are not torch's own do not say so, as torchvision's `nms`.
    """
    if base_name(operator) == "index":  # by a mask, and not by positions
        indices = (index for index in args[1] if isinstance(index, torch.Tensor))
        return any(index.dtype in (torch.bool, torch.uint8) for index in indices)
    foreign = not name_of(operator).startswith("aten::")
    return foreign or torch.Tag.dynamic_output_shape in operator.tags


def is_elementwise(operator: Any) -> bool:
    """Tell whether each number of a result is computed from numbers at the same place alone."""
    if not is_operator(operator) or changes_its_inputs(operator):
        return False
    tagged = torch.Tag.pointwise in operator.tags
    return tagged or operator is torch.ops.aten.hardswish.default  # which torch forgot


def is_composite(operator: OpOverload[..., Any]) -> bool:
    """Tell whether an operator is defined by other operators, which autograd sees instead."""
    name, key = str(operator.name()), "CompositeImplicitAutograd"  # type: ignore[no-untyped-call]
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(name, key))


def functional_counterpart(operator: Any) -> Any:
    """Return the ATen operator that computes what an in-place one writes; None if there is none."""
    packet = getattr(torch.ops.aten, base_name(operator)[:-1], None)
    return getattr(packet, operator._overloadname, None)
