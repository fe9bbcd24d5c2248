"""Norms to draw: their classes, their options, and numbers from ordinary to extreme."""

from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FunctionalNorm(nn.Module):
    """Running statistics in buffers of its own, normalized by the function."""

    running_var: Tensor

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.get_buffer("running_mean"), self.running_var
        return F.batch_norm(x, mean, var, self.weight, None, self.training, 0.1, self.eps)


class WrittenNorm(FunctionalNorm):
    """The same, as its formula."""

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = -self.get_buffer("running_mean") * scale
        shape = (1, -1, *[1] * (x.dim() - 2))
        return x * scale.reshape(shape) + shift.reshape(shape)


class ActivatedNorm(nn.BatchNorm2d):
    """A subclass with an activation, for any number of axes."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(super().forward(x), 0.1)


def norm(rank: int, channels: int, draw: Random, *, extreme: bool = False) -> nn.Module:
    """Draw a norm; an extreme one has variances, scales and eps at the ends of what there is."""
    eps = draw.choice((1e-5, 1e-2, 1e-3))
    if extreme and draw.random() < 0.3:
        eps = 0.0
    made = _of_some_class(rank, channels, eps, draw)
    for module in made.modules():
        _draw_numbers(module, draw, extreme)
    return made


def _of_some_class(rank: int, channels: int, eps: float, draw: Random) -> nn.Module:
    plain: Any = getattr(nn, f"BatchNorm{max(rank, 1)}d")
    kind = draw.random()
    if kind < 0.06:
        return FunctionalNorm(channels, eps)
    if kind < 0.1:
        return WrittenNorm(channels, eps)
    if kind < 0.15:
        return ActivatedNorm(channels, eps)
    if kind < 0.18:
        return nn.SyncBatchNorm(channels, eps)
    if kind < 0.22 and rank:
        instance: Any = getattr(nn, f"InstanceNorm{rank}d")
        tracks = draw.random() < 0.5
        made: nn.Module = instance(channels, eps=eps, affine=True, track_running_stats=tracks)
        return made
    tracks = draw.random() > 0.03
    chosen: nn.Module = plain(
        channels,
        eps=eps if tracks else 1e-3,
        momentum=draw.choice((0.1, 0.1, None)),
        affine=draw.random() < 0.75,
        track_running_stats=tracks,
    )
    return chosen


def _draw_numbers(norm: nn.Module, draw: Random, extreme: bool) -> None:
    """Draw an affine and statistics in place."""
    mean, var = getattr(norm, "running_mean", None), getattr(norm, "running_var", None)
    weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    if mean is not None and var is not None:
        mean.normal_()
        var.uniform_(0.3, 3)
        if extreme:
            mean.mul_(draw.choice((1, 0, 1e4)))
            var.copy_(10 ** torch.empty_like(var).uniform_(-12, 12))
            if getattr(norm, "eps", 0) or draw.random() < 0.2:
                var[draw.randrange(len(var))] = 0
    if isinstance(weight, Tensor):
        nn.init.uniform_(weight, 0.2 if draw.random() < 0.5 else -1.5, 2)
        if extreme:
            weight.mul_(draw.choice((1, 1e-4, 1e6)))
        if extreme or draw.random() < 0.1:
            weight[draw.randrange(len(weight))] = 0
    if isinstance(bias, Tensor):
        nn.init.normal_(bias)
