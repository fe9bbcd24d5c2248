"""A network that others may lead back to, and what leads there."""

from typing import Any

import torch
from torch import Tensor, nn

X = torch.randn(8, 4, 5, generator=torch.Generator().manual_seed(0))

GLOBAL: dict[str, Any] = {}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Sequential(nn.Conv1d(4, 4, 1), nn.BatchNorm1d(4))
        self.outer: Any = nn.Identity()

    def forward(self, x: Tensor) -> Any:
        return self.outer(self.inner(x))


class Holder:
    __slots__ = ("run",)

    def __init__(self, run: Any) -> None:
        self.run = run

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        return self.run(output)
