"""Norms in other words: constants, layer scales, frozen expressions; and what only looks so."""

import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tests.topologies.layers import CONVS, Apply, Scale, Sum, With, normed
from tests.topologies.topology import Shape, Topology
from tests.zoo import FrozenBatchNorm2d

OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
}
SHAPES: dict[int, Shape] = {1: (2, 4, 9), 2: (2, 4, 8, 8), 3: (2, 4, 5, 4, 4)}


def constants(*shape: int) -> Tensor:
    """Return numbers away from zero, of both signs."""
    return (torch.rand(shape) + 0.5) * torch.where(torch.rand(shape) < 0.3, -1, 1)


def conv(width: int = 4, **options: Any) -> nn.Module:
    """Return a convolution that keeps the size."""
    return nn.Conv2d(4, width, 3, padding=1, **options)


def exact(name: str, *layers: Callable[[], nn.Module], **options: Any) -> Topology:
    """Return layers of which one convolution is left, and no arithmetic."""
    return Topology(
        name,
        lambda: nn.Sequential(*(layer() for layer in layers)),
        **{"gone": 0, "convs": 1, "arithmetic": 0, **options},
    )


def _operation(operation: Callable[[Any, Any], Any], *shape: int) -> nn.Module:
    """Return an operation of the input and of constants of a shape."""
    return With(operation, constants(*shape))


def _grid() -> Iterator[Topology]:
    """Inductor's: conv, operation, constant, in every dimension; half of them without bias."""
    for axes, shape in SHAPES.items():
        for number, (word, operation) in enumerate(OPERATIONS.items()):
            for size in ("scalar", "channel") if axes == 2 else ("channel",):
                dims = (4, *[1] * axes) if size == "channel" else ()
                yield exact(
                    f"conv{axes}d_{word}_{size}",
                    partial(CONVS[axes], 4, 4, 2, bias=bool(number % 2) == (size == "channel")),
                    partial(_operation, operation, *dims),
                    shapes=(shape,),
                )


def _unlike(name: str, *shape: int, operation: Any = operator.mul, **options: Any) -> Topology:
    """Return a constant that has as many elements as there are channels, on another axis."""
    return exact(
        name, conv, lambda: With(operation, constants(*shape)), **{"arithmetic": 1, **options}
    )


class FixedNorm(nn.Module):
    """The frozen norm as DETR and others write it out, under a name that nobody knows."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        w, b = self.weight.reshape(1, -1, 1, 1), self.bias.reshape(1, -1, 1, 1)
        rv, rm = self.running_var.reshape(1, -1, 1, 1), self.running_mean.reshape(1, -1, 1, 1)
        scale = w * (rv + 1e-5).rsqrt()
        return x * scale + (b - rm * scale)


class NaiveNorm(FixedNorm):
    """The same in the order of the paper, with the root below."""

    def forward(self, x: Tensor) -> Tensor:
        mean, deviation = self.running_mean[:, None, None], (self.running_var + 1e-5).sqrt()
        normal = (x - mean) / deviation[:, None, None]
        return normal * self.weight[:, None, None] + self.bias[:, None, None]


def _stem() -> nn.Module:
    mean, std = constants(1, 4, 1, 1), constants(1, 4, 1, 1)
    return nn.Sequential(With(lambda x, m, s: (x - m) / s, mean, std), nn.Conv2d(4, 4, 3))


def _layer_scale() -> nn.Module:
    return Sum(nn.Identity(), nn.Sequential(*normed(conv()), nn.GELU(), conv(), Scale(4)))


def _torchvision_frozen() -> nn.Module:
    from torchvision.ops import FrozenBatchNorm2d as TorchvisionNorm

    return nn.Sequential(conv(), TorchvisionNorm(4), nn.ReLU())


TOPOLOGIES = (
    *_grid(),
    exact("conv_mul_add_scalar", conv, lambda: Apply(lambda x: x * 1.5 + 0.25)),
    exact(
        "conv_mul_add_chan",
        conv,
        lambda: With(lambda x, s, t: x * s + t, constants(4, 1, 1), constants(4, 1, 1)),
    ),
    exact("conv_int_constant", conv, lambda: Apply(lambda x: 3 * x - 2)),
    exact(
        "conv_constant_left",
        conv,
        lambda: With(lambda x, s, t: t - s * x, constants(1, 4, 1, 1), constants(4, 1, 1)),
    ),
    exact("conv_rsub_scalar", conv, lambda: Apply(lambda x: 1 - x)),
    exact("conv_negated", conv, lambda: Apply(torch.neg)),
    exact(
        "conv_add_alpha",
        conv,
        lambda: With(lambda x, t: torch.add(x, t, alpha=-2), constants(4, 1, 1)),
    ),
    exact(
        "conv_constant_over_conv_TRAP",
        conv,
        lambda: With(lambda x, s: s / (x.square() + 1), constants(4, 1, 1)),
        arithmetic=None,
    ),
    exact(
        "convT_mul_chan_sq",
        lambda: nn.ConvTranspose2d(4, 4, 3),
        lambda: With(operator.mul, constants(4, 1, 1)),
    ),
    exact(
        "linear_mul_add",
        lambda: nn.Linear(5, 4),
        lambda: With(lambda x, s, t: x * s + t, constants(4), constants(4)),
        shapes=((2, 5),),
        convs=0,
    ),
    exact(
        "linear3d_mul_add",
        lambda: nn.Linear(5, 4),
        lambda: With(lambda x, s, t: x * s + t, constants(4), constants(4)),
        shapes=((2, 6, 5),),
        convs=0,
    ),
    _unlike("conv_mul_W_TRAP", 4, shapes=((2, 4, 4, 4),)),
    _unlike("conv_add_W_TRAP", 4, operation=operator.add, shapes=((2, 4, 4, 4),)),
    _unlike("conv_mul_H_TRAP", 4, 1, shapes=((2, 4, 4, 4),)),
    _unlike("conv_mul_W_4d_TRAP", 1, 1, 1, 4, shapes=((2, 4, 4, 4),)),
    _unlike("conv_mul_H_4d_TRAP", 1, 1, 4, 1, shapes=((2, 4, 4, 4),)),
    _unlike("conv_mul_N_TRAP", 4, 1, 1, 1, shapes=((4, 4, 4, 4),)),
    _unlike("conv_mul_chan_and_W_TRAP", 4, 1, 4, shapes=((2, 4, 4, 4),)),
    _unlike("conv_mul_one_by_one", 1, 1, arithmetic=0),
    _unlike("conv_mul_one", 1, arithmetic=0),
    exact(
        "conv_widened_TRAP",
        lambda: conv(1),
        lambda: With(operator.mul, constants(5, 1, 1)),
        arithmetic=1,
    ),
    exact(
        "conv_mul_bn",
        conv,
        lambda: With(operator.mul, constants(4, 1, 1)),
        lambda: nn.BatchNorm2d(4),
        gone=1,
    ),
    exact(
        "conv_bn_mul_add_bn",
        conv,
        lambda: nn.BatchNorm2d(4),
        lambda: With(lambda x, s: (x * s + 1) / 2, constants(4, 1, 1)),
        lambda: nn.BatchNorm2d(4),
        gone=2,
    ),
    exact(
        "bn_mul_add_conv",
        lambda: nn.BatchNorm2d(4),
        lambda: With(lambda x, s: (x * s + 1) / 2, constants(4, 1, 1)),
        lambda: nn.Conv2d(4, 4, 2),
        gone=1,
    ),
    exact(
        "bn_bn_standalone",
        lambda: nn.BatchNorm2d(4),
        lambda: nn.BatchNorm2d(4),
        convs=0,
        gone=1,
        standing=("",),
        arithmetic=2,
    ),
    Topology("input_normalization_conv", _stem, gone=0, convs=1, arithmetic=0),
    Topology("layer_scale_residual", _layer_scale, convs=2, arithmetic=1),
    Topology(
        "scaled_residual",
        lambda: Sum(
            nn.Identity(), nn.Sequential(*normed(conv()), nn.ReLU(), Scale(4), nn.Conv2d(4, 4, 1))
        ),
        convs=2,
        arithmetic=1,
    ),
    exact("frozen_bn_torchvision", _torchvision_frozen, gone=1, requires="torchvision"),
    exact("frozen_bn_by_name", conv, lambda: FrozenBatchNorm2d(4), gone=1),
    exact("frozen_bn_detr", conv, lambda: FixedNorm(4), nn.ReLU, gone=None),
    exact("frozen_bn_detr_dw", lambda: conv(groups=4), lambda: FixedNorm(4), gone=None),
    exact("frozen_bn_in_order", conv, lambda: NaiveNorm(4), nn.ReLU, gone=None),
    exact("frozen_bn_detr_forward", lambda: FixedNorm(4), lambda: nn.Conv2d(4, 4, 2), gone=None),
    exact("conv_bn_one_channel", lambda: conv(1), lambda: nn.BatchNorm2d(1), gone=1),
)
