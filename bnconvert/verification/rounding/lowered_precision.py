"""A model in a lower precision than its own: what rounding to it costs, measured on the model.

A float16 file of a float32 model is right if it is as near to float64 as the model itself would be
in float16. Every operator computes in the model's own dtype, and what it reads and returns is
rounded; so nothing of the model has to be cast, and no kernel is missing.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.torch_private.operator_observer import OperatorObserver
from bnconvert.torch_private.operators import base_name
from bnconvert.verification.rounding.exact_precision import is_view, written_tensors

_LEVELS = 255  # steps between the least and the largest number of eight bits
#: Operators that quantizers run in integers: of matrices, and of kernels.
_PRODUCTS = frozenset({"convolution", "mm", "addmm", "bmm", "baddbmm", "matmul", "linear"})


@dataclass(frozen=True)
class Precision:
    """What a file computes in.

    Attributes:
        name: for people: "float16".
        dtype: of floating-point numbers; None for eight-bit integers with a scale each tensor.
    """

    name: str
    dtype: torch.dtype | None

    @property
    def eps(self) -> float:
        """The unit in the last place of 1; of integers, one step of the whole range."""
        return 1 / _LEVELS if self.dtype is None else float(torch.finfo(self.dtype).eps)

    def is_lower_than(self, model: nn.Module) -> bool:
        """Tell whether it is lower than that of a model's parameters."""
        own = [t.dtype for t in model.parameters() if t.is_floating_point()]
        return self.eps > max((torch.finfo(d).eps for d in own), default=0.0)

    def lowering(self) -> AbstractContextManager[Any]:
        """Return a context in which every operator rounds to it."""
        return _Integers(_PRODUCTS) if self.dtype is None else _Rounding(self.dtype)

    def lowering_of_any(self) -> AbstractContextManager[Any]:
        """Return the same for one operator, of whatever kind: quantizers choose more or fewer."""
        return _Integers(None) if self.dtype is None else _Rounding(self.dtype)

    def rounded_output(self, output: Tensor) -> Tensor:
        """Return an output in the dtype that a file in this precision has."""
        if self.dtype is None or not output.is_floating_point():
            return output
        return output.to(self.dtype)


FLOAT16 = Precision("float16", torch.float16)
BFLOAT16 = Precision("bfloat16", torch.bfloat16)
INT8 = Precision("int8", None)


class _Rounding(OperatorObserver):
    """Rounds what every operator reads and returns to a floating-point dtype."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operator on rounded numbers, and round its result."""
        if is_view(operator):
            return super().run_operator(operator, args, kwargs)
        if written := written_tensors(operator, args, kwargs):
            result = super().run_operator(operator, args, kwargs)
            for tensor in written:
                tensor.copy_(self._rounded(tensor))
            return result
        args, kwargs = pytree.tree_map_only(Tensor, self._rounded, (args, kwargs))
        result = super().run_operator(operator, args, kwargs)
        return pytree.tree_map_only(Tensor, self._rounded, result)

    def _rounded(self, tensor: Tensor) -> Tensor:
        if tensor.dtype in (torch.float32, torch.float64):
            return tensor.to(self._dtype).to(tensor.dtype)
        return tensor


class _Integers(OperatorObserver):
    """Rounds what some operators read and return to eight bits, with one scale a tensor."""

    def __init__(self, names: frozenset[str] | None) -> None:
        """Take their names; None for all that compute something."""
        self._names = names

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operator; on rounded numbers, if it is one of these."""
        others = self._names is not None and base_name(operator) not in self._names
        if others or is_view(operator) or written_tensors(operator, args, kwargs):
            return super().run_operator(operator, args, kwargs)
        args = tuple(_in_steps(a) if isinstance(a, Tensor) and a.dim() > 1 else a for a in args)
        result = super().run_operator(operator, args, kwargs)
        return pytree.tree_map_only(Tensor, _in_steps, result)


def _in_steps(tensor: Tensor) -> Tensor:
    """Return a tensor whose numbers are rounded to 256 levels that span its range and zero."""
    if not tensor.is_floating_point() or not tensor.numel():
        return tensor
    least, most = (float(end) for end in tensor.aminmax())
    step = (max(most, 0.0) - min(least, 0.0)) / _LEVELS
    return (tensor / step).round() * step if step > 0 else tensor
