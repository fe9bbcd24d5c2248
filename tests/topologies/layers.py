"""The few layers that the topologies are put together from."""

import operator
import warnings
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

#: The norm for a layer, by the axes of its output behind the channels.
NORMS = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
#: The layer by the axes of its input behind the channels; their arguments differ.
CONVS: tuple[Callable[..., nn.Module], ...] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED: tuple[Callable[..., nn.Module], ...] = (
    nn.Linear,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


def normed(layer: nn.Module, **options: Any) -> nn.Sequential:
    """Return a convolution or linear layer with a norm behind."""
    return nn.Sequential(layer, norm_of(layer, **options))


def norm_of(layer: Any, **options: Any) -> nn.Module:
    """Return a norm for what a convolution or linear layer makes."""
    width = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    return NORMS[layer.weight.dim() - 2](width, **options)


class Apply(nn.Module):
    """A function without parameters."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


class With(nn.Module):
    """A function of the input and of parameters."""

    def __init__(self, function: Callable[..., Any], *values: Tensor) -> None:
        super().__init__()
        self.function = function
        self.values = nn.ParameterList(nn.Parameter(value) for value in values)

    def forward(self, x: Tensor) -> Any:
        return self.function(x, *self.values)


class Branches(nn.Module):
    """Modules over one input, and a function of their results."""

    join: Callable[[list[Any]], Any] = staticmethod(tuple)

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Any:
        return type(self).join([branch(x) for branch in self.branches])


class Sum(Branches):
    """The sum of the branches."""

    join = staticmethod(lambda parts: reduce(operator.add, parts))


class Difference(Branches):
    """The first branch less the others."""

    join = staticmethod(lambda parts: reduce(operator.sub, parts))


class Cat(Branches):
    """The branches side by side on the channel axis."""

    join = staticmethod(lambda parts: torch.cat(parts, dim=1))


class Gate(nn.Module):
    """Squeeze and excitation: every channel times a number made from all of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool, self.conv = nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(self.pool(x)))


class Scale(nn.Module):
    """LayerScale: one factor per channel of an image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.randn(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


def old_style(wrap: Callable[..., nn.Module], layer: nn.Module) -> nn.Module:
    """Wrap a layer by a function that torch has deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wrap(layer)


def shuffled(x: Tensor, groups: int) -> Tensor:
    """Return a channel shuffle, as ShuffleNet writes it."""
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)
