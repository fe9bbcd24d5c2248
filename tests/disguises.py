"""Norms that are not modules of a known class in the module tree, each in another way."""

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = 4


class Borrowed(nn.Module):
    """Holds a norm, and normalizes by its statistics without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(CHANNELS)

    def normalized(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        bn = self.bn
        return F.batch_norm(x, mean, var, bn.weight, bn.bias, bn.training, 0.1, bn.eps)


class Sliced(Borrowed):
    """As a slimmable network does, here with all channels."""

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.bn.get_buffer("running_mean"), self.bn.get_buffer("running_var")
        return self.normalized(x, mean[: x.shape[1]], var[: x.shape[1]])


class Detached(Borrowed):
    """By other tensors that show the same memory."""

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.bn.get_buffer("running_mean"), self.bn.get_buffer("running_var")
        return self.normalized(x, mean.detach(), var.view(-1))


class Branching(Borrowed):
    """In a forward that torch.fx cannot trace."""

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() == 0:
            return x
        return self.normalized(x, self.bn.running_mean.data, self.bn.running_var.data)  # type: ignore[union-attr]


class Halved(Borrowed):
    """By the statistics of the first half of the channels."""

    def forward(self, x: Tensor) -> Tensor:
        mean, var, half = self.bn.running_mean, self.bn.running_var, CHANNELS // 2
        assert mean is not None
        assert var is not None
        y = F.batch_norm(x[:, :half], mean[:half], var[:half], training=self.training)
        return torch.cat([y, x[:, half:]], 1)


class ByHand(Borrowed):
    """By the formula, written out."""

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.bn.get_buffer("running_mean"), self.bn.get_buffer("running_var")
        return (x - mean.view(1, -1, 1, 1)) * (var.view(1, -1, 1, 1) + 1e-5).rsqrt()


class OwnBuffers(nn.Module):
    """A class of its own that calls F.batch_norm."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(CHANNELS))
        self.register_buffer("running_var", torch.ones(CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, None, None, self.training)


class FromScratch(nn.Module):
    """As textbooks write it: plain attributes, rebound in training."""

    def __init__(self) -> None:
        super().__init__()
        self.moving_mean = torch.zeros(1, CHANNELS, 1, 1)
        self.moving_var = torch.ones(1, CHANNELS, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.moving_mean, self.moving_var
        if self.training:
            mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
            self.moving_mean = 0.9 * self.moving_mean + 0.1 * mean.detach()
            self.moving_var = 0.9 * self.moving_var + 0.1 * var.detach()
        return (x - mean) * (var + 1e-5).rsqrt()


class FrozenBatchNormInName(nn.Module):
    """Called frozen, and moves in training."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            self.register_buffer(name, torch.full((CHANNELS,), float(value)))

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(x, mean, var, self.weight, self.bias, self.training)


class Held(nn.Module):
    """Holds a norm where torch does not look."""

    def __init__(self, hide: Callable[[nn.Module], object]) -> None:
        super().__init__()
        self.norm = hide(nn.BatchNorm2d(CHANNELS))
        if isinstance(self.norm, nn.Module):
            raise TypeError("that is no hiding place")

    def forward(self, x: Tensor) -> Tensor:
        held = self.norm
        if isinstance(held, list):
            held = held[0]
        elif isinstance(held, dict):
            held = held["bn"]
        elif isinstance(held, SimpleNamespace):
            held = held.bn
        y: Tensor = held(x)  # type: ignore[operator]
        return y


class Made(nn.Module):
    """Makes a norm in its forward."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = nn.BatchNorm2d(CHANNELS)(x)
        return y


class Styled(nn.Module):
    """Normalizes each sample, by F.batch_norm over a batch of one."""

    def forward(self, x: Tensor) -> Tensor:
        joined = x.reshape(1, -1, x.size(2), x.size(3))
        return F.batch_norm(joined, None, None, training=True).reshape(x.shape)


#: Their statistics are used without a call of the norm.
BORROWED: tuple[type[nn.Module], ...] = (Sliced, Detached, Branching, Halved, ByHand)
#: Classes of their own.
OTHERS: tuple[type[nn.Module], ...] = (OwnBuffers, FromScratch, FrozenBatchNormInName)
#: Places where torch does not see a norm, and what their path ends with.
PLACES: dict[str, Callable[[nn.Module], object]] = {
    "norm.0": lambda bn: [bn],
    "norm.bn": lambda bn: {"bn": bn},
    "norm.bn ": lambda bn: SimpleNamespace(bn=bn),
    "norm.forward": lambda bn: bn.forward,
    "norm.bn  ": lambda bn: lambda x: bn(x),
}


def network(norm: nn.Module) -> nn.Module:
    """Return a convolution and a norm in disguise."""
    return nn.Sequential(nn.Conv2d(3, CHANNELS, 1), norm)
