"""A mixed batch as blocks: where the samples of each domain lie, found out once per batch."""

import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

from bnconvert.numerics.kernels import Bounds


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
        fingerprint: a number that differs for other labels, nearly surely.
    """

    size: int
    labels: tuple[int, ...]
    bounds: Bounds
    order: Tensor | None
    inverse: Tensor | None
    fingerprint: int

    def gather(self, x: Tensor) -> Tensor:
        """Return the samples of `x` block by block."""
        return x if self.order is None else _selected(x, self.order)

    def scatter(self, x: Tensor) -> Tensor:
        """Return gathered samples in their own order."""
        return x if self.inverse is None else _selected(x, self.inverse)


def blocks(labels: Tensor) -> Blocks:
    """Find the blocks of a batch. Reads the labels on the host: once, outside of the forward.

    Args:
        labels: shape (N,), integers.
    """
    runs, counts = torch.unique_consecutive(labels, return_counts=True)
    order = inverse = None
    if len(runs) != len(torch.unique(runs)):
        order = torch.argsort(labels, stable=True)
        inverse = torch.argsort(order)
        runs, counts = torch.unique(labels, return_counts=True)
    ends = torch.cumsum(counts, 0).tolist()
    bounds = tuple(zip((0, *ends[:-1]), ends, strict=True)) if ends else ()
    fingerprint = zlib.crc32(repr(labels.tolist()).encode()) >> 1
    return Blocks(len(labels), tuple(runs.tolist()), bounds, order, inverse, fingerprint)


def _selected(x: Tensor, index: Tensor) -> Tensor:
    """Select samples and keep the memory format, which index_select does not."""
    selected = x.index_select(0, index)
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return selected.contiguous(memory_format=torch.channels_last)
    return selected
