"""Batches of unequal sizes in float64."""

from collections.abc import Sequence

import torch
from torch import Tensor


def data(sizes: Sequence[int] = (4, 2, 6), *shape: int) -> list[Tensor]:
    torch.manual_seed(3)
    x = torch.randn(sum(sizes), *(shape or (3, 8, 8)), dtype=torch.float64) * 2 + 1
    return list(x.split(list(sizes)))
