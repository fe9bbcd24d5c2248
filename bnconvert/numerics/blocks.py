"""Blocks: where in a mixed batch the samples of each domain are, found once per batch."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from bnconvert.numerics.kernels import Bounds, has_kernels
from bnconvert.torch_private.function_transforms import is_transformed

#: A run costs some 50 microseconds of calls, moving a number to and fro some nanoseconds.
_RUNS, _NUMBERS = 128, 16384


@dataclass(frozen=True, eq=False)
class Blocks:
    """The samples of a batch, gathered by label.

    Attributes:
        size: the number of samples.
        labels: the label of each block.
        bounds: first and end of each block in the gathered batch.
        order: shape (N,), the samples in gathered order; None where the labels already lie in
            blocks, and nothing has to be moved.
        inverse: shape (N,), undoes `order`.
        runs: first and end of each run of equal labels in the batch itself.
        run_labels: the label of each run.
        fingerprint: a hash of the labels.
    """

    size: int
    labels: tuple[int, ...]
    bounds: Bounds
    order: Tensor | None
    inverse: Tensor | None
    runs: Bounds
    run_labels: tuple[int, ...]
    fingerprint: int

    def suits_runs(self, x: Tensor) -> bool:
        """Tell whether normalizing `x` run by run is faster than gathering it: few, large runs."""
        few = len(self.runs) <= _RUNS and x[0].numel() >= _NUMBERS
        return few and has_kernels(x)

    def add_up(self, rows: Tensor) -> None:
        """Replace the rows of runs, in place, by the sums over the runs of the same label."""
        labels = torch.tensor(self.run_labels, device=rows.device)
        rows.copy_((labels[:, None] == labels).to(rows.dtype) @ rows)

    def gather(self, x: Tensor) -> Tensor:
        """Return the samples of `x` block by block."""
        return x if self.order is None else _moved(x, self.order, self.inverse)

    def scatter(self, x: Tensor) -> Tensor:
        """Return gathered samples in their own order."""
        return x if self.inverse is None else _moved(x, self.inverse, self.order)


def blocks(labels: Tensor) -> Blocks:
    """Find the blocks of a batch. Reads the labels on the host: once, outside of the forward.

    Args:
        labels: shape (N,), integers.
    """
    runs, counts = torch.unique_consecutive(labels, return_counts=True)
    lie, run_labels = _bounds(counts), tuple(runs.tolist())
    order = inverse = None
    if len(runs) != len(torch.unique(runs)):
        order = torch.argsort(labels, stable=True)
        inverse = torch.argsort(order)
        runs, counts = torch.unique(labels, return_counts=True)
    found = tuple(runs.tolist())
    fingerprint = zlib.crc32(repr(labels.tolist()).encode()) >> 1
    return Blocks(len(labels), found, _bounds(counts), order, inverse, lie, run_labels, fingerprint)


def _bounds(counts: Tensor) -> Bounds:
    ends = torch.cumsum(counts, 0).tolist()
    return tuple(zip((0, *ends[:-1]), ends, strict=True)) if ends else ()


class _Permuted(Function):
    """The samples in another order; the gradient comes back in the first one."""

    @staticmethod
    def forward(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        # Into a new tensor: an in-place activation may not follow a view from in here.
        axes = _laid_axes(x)
        laid = x.permute(0, *axes)
        if not laid.is_contiguous():
            return x.index_select(0, order)
        y = torch.empty_like(x)
        rows = y.permute(0, *axes).view(len(x), -1)
        torch.index_select(laid.view(len(x), -1), 0, order, out=rows)
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1], inputs[2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        order, inverse = ctx.saved_tensors
        return _moved(gradient, inverse, order), None, None


_permute: Callable[..., Tensor] = _Permuted.apply


def _moved(x: Tensor, order: Tensor, inverse: Tensor | None) -> Tensor:
    if has_kernels(x):
        return _permute(x, order, inverse)
    return x[order.to(x.device)] if is_transformed(x) else _selected(x, order)


def _selected(x: Tensor, index: Tensor) -> Tensor:
    """Select samples as rows of memory: index_select loses the memory format, and its speed."""
    axes = _laid_axes(x)
    laid, index = x.permute(0, *axes), index.to(x.device)
    if not laid.is_contiguous():
        return x.index_select(0, index)
    rows = laid.reshape(laid.shape[0], -1).index_select(0, index)
    back = [0, *(axes.index(axis) + 1 for axis in range(1, x.dim()))]
    return rows.reshape(len(index), *laid.shape[1:]).permute(back)


def _laid_axes(x: Tensor) -> list[int]:
    """Return the axes of a sample as they lie in memory, the outermost first."""
    return sorted(range(1, x.dim()), key=x.stride, reverse=True)
