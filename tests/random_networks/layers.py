"""Layers to draw: modules with weights, of any number of spatial axes.

Each is made by `make(rank, channels, draw)`; rank 0 is (N, C), rank 2 an image.
"""

from collections.abc import Callable
from random import Random
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

Call = Callable[..., Any]
Maker = Callable[[int, int, Random], Call]


class Excitation(nn.Module):
    """A gate for each channel, computed from the whole image."""

    def __init__(self, rank: int, channels: int) -> None:
        super().__init__()
        self.conv = _class("Conv", rank)(channels, channels, 1)
        self.axes = tuple(range(2, 2 + rank))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(x.mean(self.axes, keepdim=True)))


class Pixelwise(nn.Module):
    """A linear layer over the channels of each place, which lie last for it."""

    def __init__(self, channels: int, width: int, bias: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear(x.movedim(1, -1))
        return result.movedim(-1, 1)


class Scale(nn.Module):
    """Stored numbers, one for each channel or one for all, in one of the four operations."""

    def __init__(self, rank: int, channels: int, draw: Random) -> None:
        super().__init__()
        self.operation = draw.choice(("add", "mul", "sub", "div", "from", "alpha"))
        numbers = torch.randn((channels, *[1] * rank) if draw.random() < 0.7 else ())
        numbers = numbers.abs() + 0.5 if self.operation == "div" else numbers
        self.numbers: Tensor
        if draw.random() < 0.5:
            self.register_buffer("numbers", numbers)
        else:
            self.numbers = nn.Parameter(numbers)

    def forward(self, x: Tensor) -> Tensor:
        numbers = self.numbers
        match self.operation:
            case "add":
                return x + numbers
            case "mul":
                return numbers * x
            case "sub":
                return x - numbers
            case "div":
                return x / numbers
            case "from":
                return numbers - x
        return torch.add(x, numbers, alpha=3)


class Matrix(nn.Module):
    """A product with a matrix, of the channels, written in one of several ways."""

    def __init__(self, channels: int, draw: Random) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(channels, draw.choice((4, 6))) / channels**0.5)
        self.way = draw.choice(("matmul", "einsum", "addmm"))

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "einsum":
            return torch.einsum("nc...,cd->nd...", x, self.matrix)
        if self.way == "addmm" and x.dim() == 2:
            return torch.addmm(self.matrix.sum(0), x, self.matrix, beta=2)
        return (x.movedim(1, -1) @ self.matrix).movedim(-1, 1)


def _class(name: str, rank: int) -> Any:
    return getattr(nn, f"{name}{rank}d")


#: Half of the convolutions that pad do so with zeros.
PADDINGS: tuple[Literal["zeros", "reflect", "replicate", "circular"], ...] = (
    *("zeros",) * 3,
    "reflect",
    "replicate",
    "circular",
)


def linear(rank: int, channels: int, draw: Random) -> nn.Module:
    """Draw a linear layer over the channels."""
    width, bias = draw.choice((4, 6, channels)), draw.random() < 0.5
    return Pixelwise(channels, width, bias) if rank else nn.Linear(channels, width, bias=bias)


def conv(rank: int, channels: int, draw: Random) -> nn.Module:
    """Draw a convolution: strided, grouped, dilated, padded with one thing or another."""
    if rank == 0:
        return linear(rank, channels, draw)
    padding = draw.choice((0, 1, 1, "same"))
    made: nn.Module = _class("Conv", rank)(
        channels,
        draw.choice((4, 6, 8)),
        3,
        padding=padding,
        stride=draw.choice((1, 1, 2)) if padding != "same" else 1,
        dilation=draw.choice((1, 1, 1, 2)),
        groups=draw.choice((1, 2)) if channels % 2 == 0 else 1,
        bias=draw.random() < 0.5,
        padding_mode=draw.choice(PADDINGS) if padding else "zeros",
    )
    return made


def pointwise(rank: int, channels: int, draw: Random) -> nn.Module:
    """Draw a convolution of single places."""
    if rank == 0:
        return linear(rank, channels, draw)
    made: nn.Module = _class("Conv", rank)(channels, draw.choice((4, 6)), 1, bias=False)
    return made


def depthwise(rank: int, channels: int, draw: Random) -> nn.Module:
    """Draw a convolution of single channels."""
    width = channels * draw.choice((1, 1, 2))
    made: nn.Module = _class("Conv", rank)(channels, width, 3, padding=1, groups=channels)
    return made


def transposed(rank: int, channels: int, draw: Random) -> nn.Module:
    """Draw a transposed convolution."""
    groups = draw.choice((1, 2)) if channels % 2 == 0 else 1
    size, padding = draw.choice(((2, 0), (3, 1), (3, 0)))
    made: nn.Module = _class("ConvTranspose", rank)(
        channels, 4, size, stride=draw.choice((1, 2)), padding=padding, groups=groups
    )
    return made


def parametrized(rank: int, channels: int, draw: Random) -> nn.Module:
    """Draw a layer whose weight is computed from others."""
    layer = draw.choice((conv, pointwise))(rank, channels, draw)
    inner = layer.linear if isinstance(layer, Pixelwise) else layer
    kinds = (parametrizations.weight_norm, parametrizations.spectral_norm)
    draw.choice((*kinds, parametrizations.orthogonal))(inner)
    return layer


def activation(rank: int, channels: int, draw: Random) -> nn.Module:
    """Draw an activation."""
    kinds = (nn.ReLU, nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU, nn.Hardtanh)
    if draw.random() < 0.15:
        return nn.PReLU(channels if draw.random() < 0.7 else 1)
    return draw.choice(kinds)()


def pooling(rank: int, channels: int, draw: Random) -> nn.Module:
    """Draw a pooling."""
    average, largest = _class("AvgPool", rank), _class("MaxPool", rank)
    made: nn.Module = draw.choice(
        (
            average(2),
            average(3, 1, 1),
            average(3, 2, 1, ceil_mode=True),
            average(3, 1, 1, count_include_pad=False),
            _class("AdaptiveAvgPool", rank)(3),
            _class("AdaptiveAvgPool", rank)(1),
            largest(2),
            largest(3, 1, 1),
            largest(3, 2, 1, ceil_mode=True),
        )
    )
    return made


def dropout(rank: int, channels: int, draw: Random) -> nn.Module:
    """Draw a dropout, which does nothing in eval mode."""
    return draw.choice((nn.Dropout, nn.AlphaDropout))()


LAYERS: dict[Maker, int] = {
    conv: 3,
    pointwise: 2,
    depthwise: 1,
    transposed: 1,
    linear: 1,
    parametrized: 1,
    activation: 3,
    pooling: 2,
    dropout: 1,
    lambda rank, channels, draw: Scale(rank, channels, draw): 3,
    lambda rank, channels, draw: Matrix(channels, draw): 1,
    lambda rank, channels, draw: Excitation(rank, channels): 1,
}
