"""A small network, and the values of a file that computes it, by names that say nothing."""

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from bnconvert.graphs.example import Example
from bnconvert.verification.values.dual_precision import DualPrecisionRun

INPUTS = (torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0)),)
EXAMPLE = Example.of(INPUTS)


class Row(nn.Module):
    """A convolution, a norm, an activation and a convolution, in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.last = nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(F.relu(self.norm(self.first(x))))
        return y


def values_of(graph: fx.GraphModule) -> dict[str, Tensor]:
    steps = DualPrecisionRun(graph, EXAMPLE).steps()
    return {f"v{number}": native.clone() for number, (_, _, native) in enumerate(steps)}


def go_on(graph: fx.GraphModule, values: dict[str, Tensor], normed: Tensor) -> None:
    """Put another value after the norm, and compute the rest from it."""
    weight, bias = graph.get_parameter("last.weight"), graph.get_parameter("last.bias")
    values["v1"], values["v2"] = normed, F.relu(normed)
    values["v3"] = F.conv2d(values["v2"], weight, bias)
