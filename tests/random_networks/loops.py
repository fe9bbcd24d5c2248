"""Loops of products to draw: a value multiplied with itself and with constants, over and over.

In each turn a fold may move a factor. Moved turn by turn, factors multiply until they leave the
range of the dtype, though every value of the model stays near 1.
"""

from collections.abc import Callable
from random import Random

import torch
from torch import Tensor, nn

#: Some turns that stay short, some that multiply a factor with itself thousands of times.
_TURNS = (1, 2, 3, 5, 8, 12)


class Loop(nn.Module):
    """A few turns of one step, which keeps values near 1, with a number or one for each channel."""

    def __init__(self, rank: int, channels: int, draw: Random) -> None:
        super().__init__()
        self.turns, self.step = draw.choice(_TURNS), draw.choice(STEPS)
        self.axes = tuple(range(2, 2 + rank)) or (1,)
        self.number = draw.choice((2.5, 3.2, 3.7))
        numbers = torch.full((channels, *[1] * rank), self.number) - 0.4 * torch.rand(1)
        self.numbers = nn.Parameter(numbers) if draw.random() < 0.4 else None

    def forward(self, x: Tensor) -> Tensor:
        factor = self.number if self.numbers is None else self.numbers
        y = torch.sigmoid(x)
        for _ in range(self.turns):
            y = self.step(y, factor, self.axes)
        return y


Factor = float | Tensor


def logistic(y: Tensor, factor: Factor, axes: tuple[int, ...]) -> Tensor:
    """Multiply by what is left of 1."""
    return factor * y * (1 - y)


def squared(y: Tensor, factor: Factor, axes: tuple[int, ...]) -> Tensor:
    """Subtract a square from 1."""
    return 1 - 0.4 * factor * (y - 0.5) * (y - 0.5)


def powers(y: Tensor, factor: Factor, axes: tuple[int, ...]) -> Tensor:
    """Square, by the operator for powers."""
    return 1 - 0.3 * factor * y**2


def gated(y: Tensor, factor: Factor, axes: tuple[int, ...]) -> Tensor:
    """Multiply a gate by a constant."""
    return 0.8 * factor * (y * torch.sigmoid(y)) - 0.5


def averaged(y: Tensor, factor: Factor, axes: tuple[int, ...]) -> Tensor:
    """Multiply by an average."""
    return 0.7 * factor * y * (1 - y.mean(axes, keepdim=True))


def divided(y: Tensor, factor: Factor, axes: tuple[int, ...]) -> Tensor:
    """Divide by a sum of squares."""
    return factor * y / (0.5 + y * y)


STEPS: tuple[Callable[[Tensor, Factor, tuple[int, ...]], Tensor], ...] = (
    logistic,
    squared,
    powers,
    gated,
    averaged,
    divided,
)
