"""Outputs that are positions: of the largest values, of a sorted order, of a maximum.

Where values tie, as the zeros of a ReLU do, torch and a file may give other positions and both be
right. So positions are compared by the values that lie there, in the model's own tensor. What is
computed from positions is compared with a run that orders ties as ONNX does: lower ones first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnconvert.numerics.distance import ULPS
from bnconvert.torch_private.operator_observer import OperatorObserver
from bnconvert.torch_private.operators import base_name, changes_its_inputs, formals_of
from bnconvert.torch_private.storages import StorageReference, identity_of

#: Operators that return positions, and at which place among their results.
_POSITIONS = {
    "topk": 1, "sort": 1, "max": 1, "min": 1, "kthvalue": 1, "median": 1, "argmax": 0, "argmin": 0,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Selection:
    """An output of positions, with the values that they are positions of.

    Attributes:
        values: the rows of values to choose from, each with as many as there are positions.
        rows: for each entry of the output, the row that it is a position in.
    """

    values: Tensor
    rows: Tensor

    def of_rows(self, picks: Sequence[int]) -> "Selection":
        """Return the selection for some rows of the output."""
        return Selection(self.values, self.rows[list(picks)])

    def with_ties(self, positions: Tensor, truth: Tensor) -> Tensor:
        """Return the true positions, or others where they hold an equal value.

        Args:
            positions: the file's; where one is given twice, none of them count.
            truth: the model's own.
        """
        if positions.shape != truth.shape or positions.dtype != truth.dtype:
            return truth
        size = self.values.shape[1]
        if not size or ((positions < 0) | (positions >= size)).any():
            return truth
        keys = self.rows * size + positions
        if len(torch.unique(keys)) < keys.numel():
            return truth
        finite = self.values[torch.isfinite(self.values)]
        typical = float(finite.square().mean().sqrt()) if finite.numel() else 0.0
        within = ULPS * float(torch.finfo(torch.float32).eps) * typical
        given, own = self.values[self.rows, positions], self.values[self.rows, truth]
        ties = (given == own) | ((given - own).abs() <= within)
        return torch.where(ties, positions, truth)


class Selections(OperatorObserver):
    """A context that notes which tensors are positions of which values."""

    def __init__(self) -> None:
        """Start with nothing noted."""
        self._noted: list[tuple[StorageReference, Tensor, Tensor]] = []

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operator; note what it chose from."""
        result = super().run_operator(operator, args, kwargs)
        place = _POSITIONS.get(base_name(operator))
        if place is not None:
            positions = result[place] if isinstance(result, tuple | list) else result
            if isinstance(positions, Tensor) and positions.dtype is torch.int64:
                self._note(positions, args[0], _dim(operator, args, kwargs))
        return result

    def among(self, outputs: Sequence[Tensor]) -> Mapping[int, Selection]:
        """Return the outputs that are positions, or views of them, by their indices."""
        found: dict[int, Selection] = {}
        for index, output in enumerate(outputs):
            if output.dtype is not torch.int64 or output.layout is not torch.strided:
                continue
            for reference, values, rows in self._noted:
                identity = identity_of(output.untyped_storage())
                if reference.is_alive() and reference.identity == identity:
                    geometry = output.shape, output.stride(), output.storage_offset()
                    found[index] = Selection(values, rows.as_strided(*geometry))
        return found

    def _note(self, positions: Tensor, source: Tensor, dim: int | None) -> None:
        """Note positions, with the row of values that each belongs to, laid out like them."""
        values = source.detach()
        if not values.is_floating_point() or not values.dim():
            return
        if dim is None:
            values, numbers = (
                values.reshape(1, -1),
                torch.zeros((), dtype=torch.int64, device="cpu"),
            )
        else:
            moved = values.movedim(dim, -1)
            rows = torch.arange(moved[..., 0].numel(), device="cpu").reshape(moved.shape[:-1])
            numbers = rows if rows.dim() == positions.dim() else rows.unsqueeze(dim % source.dim())
            values = moved.reshape(-1, moved.shape[-1])
            if rows.dim() == positions.dim() and rows.shape != positions.shape:
                return
        count = positions.untyped_storage().nbytes() // positions.element_size()
        laid_out = torch.zeros(count, dtype=torch.int64, device="cpu")
        view = laid_out.as_strided(positions.shape, positions.stride(), positions.storage_offset())
        view.copy_(numbers.expand(positions.shape))
        reference = StorageReference(positions.untyped_storage())
        self._noted.append((reference, values.double(), laid_out))


def orders_ties(operator: Any) -> bool:
    """Tell whether an operator may order equal values in more than one way."""
    return base_name(operator) in ("topk", "sort") and not changes_its_inputs(operator)


class TiesInOrder(OperatorObserver):
    """A context in which ties are ordered as in ONNX: lower positions first."""

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operator, stably if it sorts."""
        if not orders_ties(operator):
            return super().run_operator(operator, args, kwargs)
        given = _arguments(operator, args, kwargs)
        is_sort = base_name(operator) == "sort"
        descending = given["descending" if is_sort else "largest"]
        values, positions = torch.sort(
            args[0], dim=given["dim"], descending=bool(descending), stable=True
        )
        if is_sort:
            return values, positions
        return tuple(
            t.narrow(given["dim"], 0, given["k"]).contiguous() for t in (values, positions)
        )


def _arguments(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return an operator's arguments by name, defaults included."""
    formals = formals_of(operator)
    names = [formal.name for formal in formals]
    return (
        {formal.name: formal.default_value for formal in formals}
        | dict(zip(names, args, strict=False))
        | kwargs
    )


def _dim(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    dim = _arguments(operator, args, kwargs).get("dim")
    return None if dim is None else int(dim)
