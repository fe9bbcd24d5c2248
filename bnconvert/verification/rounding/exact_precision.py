"""Run a forward in float64 throughout: casts to lower precision in it are lifted.

A model that casts to half inside, by autocast or by hand, has no float64 answers otherwise: the
cast rounds them too, and operators refuse to mix float64 weights with the values that follow it.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bnconvert.torch_private.operator_observer import OperatorObserver
from bnconvert.torch_private.operators import base_name, formals_of


class ExactPrecision(OperatorObserver):
    """A context in which every operator computes in float64, whatever precision is asked for.

    Views stay views, and what is written to keeps its precision. An operator without a float64
    kernel runs in float32.
    """

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operator in float64."""
        if is_view(operator):
            return super().run_operator(operator, args, kwargs)
        if base_name(operator) != "view":
            args, kwargs = pytree.tree_map_only(torch.dtype, _lifted_dtype, (args, kwargs))
        written = written_tensors(operator, args, kwargs)
        if written:
            args, kwargs = _cast_beside(written, args, kwargs)
            return super().run_operator(operator, args, kwargs)
        exact = pytree.tree_map_only(Tensor, _lifted, (args, kwargs))
        try:
            result = super().run_operator(operator, *exact)
        except Exception:
            lowered = pytree.tree_map_only(Tensor, _lowered, exact)
            result = super().run_operator(operator, *lowered)
        return pytree.tree_map_only(Tensor, _lifted, result)


def is_view(operator: Any) -> bool:
    """Tell whether an operator returns one of its inputs, or a view of it, and writes nothing."""
    aliases = [formal.alias_info for formal in formals_of(operator) if formal.alias_info]
    return bool(aliases) and not any(alias.is_write for alias in aliases)


def written_tensors(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the tensors that an operator writes to."""
    formals = [f for f in formals_of(operator) if f.alias_info and f.alias_info.is_write]
    if not formals:
        return []
    places = {formal.name: place for place, formal in enumerate(formals_of(operator))}
    given = [
        args[places[f.name]] if places[f.name] < len(args) else kwargs.get(f.name) for f in formals
    ]
    return [leaf for leaf in pytree.tree_leaves(given) if isinstance(leaf, Tensor)]


def _cast_beside(written: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Cast what is only read to the precision of what is written to."""
    dtype = next((t.dtype for t in written if t.is_floating_point()), torch.float64)

    def cast(tensor: Tensor) -> Tensor:
        is_written = any(tensor is one for one in written)
        return tensor.to(dtype) if tensor.is_floating_point() and not is_written else tensor

    return pytree.tree_map_only(Tensor, cast, (args, kwargs))


def _lifted_dtype(dtype: torch.dtype) -> torch.dtype:
    if dtype.is_floating_point:
        return torch.float64
    return torch.complex128 if dtype.is_complex else dtype


def _lifted(tensor: Tensor) -> Tensor:
    lifted = _lifted_dtype(tensor.dtype)
    return tensor if lifted is tensor.dtype else tensor.to(lifted)


def _lowered(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
