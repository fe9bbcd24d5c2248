"""A norm that can move back over what lies between it and the layer that takes it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tests.topologies.layers import Apply, Branches, Cat, Difference, Gate, Sum, shuffled
from tests.topologies.topology import Topology, without_shift


def conv(width: int = 4, channels: int = 4) -> nn.Module:
    """Return a convolution that keeps the size."""
    return nn.Conv2d(channels, width, 3, padding=1)


def over(
    name: str, between: Callable[[], nn.Module], width: int = 4, made: int = 4, **options: Any
) -> Topology:
    """Return conv, something, norm: the norm goes over it into the convolution."""
    return Topology(
        name,
        lambda: nn.Sequential(conv(made), between(), nn.BatchNorm2d(width), nn.Sigmoid()),
        **{"convs": 1, "arithmetic": 0, **options},
    )


def stands(
    name: str, between: Callable[[], nn.Module], reason: str, width: int = 4, **options: Any
) -> Topology:
    """Return conv, something that the norm does not go over, norm."""
    return over(name, between, width, gone=0, standing=(reason,), **{"arithmetic": None, **options})


def _flat(*between: nn.Module, width: int = 4) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(conv(), *between, nn.Flatten(), nn.BatchNorm1d(width))


def _upsampled(mode: str) -> Topology:
    layer = partial(nn.Upsample, scale_factor=2, mode=mode, align_corners=False)
    return over(f"conv_{mode}_bn", layer)


def _split(function: Callable[[Any], Any]) -> Callable[[], nn.Module]:
    """Return a convolution whose output is split; the first part is normalized."""

    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = conv(8), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> Any:
            first, second = function(self.conv(x))
            return self.norm(first), second.sigmoid()

    return Split


def _small_conv(stride: int = 1) -> nn.Module:
    return nn.Conv2d(4, 4, 1, stride)


def _joined(join: type[Branches], *branches: Callable[[], nn.Module], width: int = 4) -> Any:
    return lambda: nn.Sequential(
        join(*(branch() for branch in branches)), nn.BatchNorm2d(width), nn.Sigmoid()
    )


TOPOLOGIES = (
    Topology(
        "cat_bn", _joined(Cat, conv, _small_conv, width=8), convs=2, arithmetic=0, dynamic=True
    ),
    Topology(
        "cat_three_bn",
        _joined(Cat, conv, _small_conv, lambda: nn.Sequential(conv(), nn.AvgPool2d(1)), width=12),
        convs=3,
        arithmetic=0,
    ),
    Topology(
        "cat_identity_bn_TRAP",
        _joined(Cat, conv, nn.Sigmoid, width=8),
        gone=0,
        standing=("sigmoid",),
    ),
    Topology(
        "cat_identity_bn_conv",
        lambda: nn.Sequential(Cat(conv(), nn.Sigmoid()), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)),
        arithmetic=0,
    ),
    Topology(
        "cat_batch_bn",
        lambda: nn.Sequential(
            conv(), Apply(lambda x: torch.cat([x, x.flip(3)])), nn.BatchNorm2d(4)
        ),
        gone=0,
        standing=("also read by",),
    ),
    Topology("add_bn", _joined(Sum, conv, _small_conv), convs=2, arithmetic=1),
    Topology("sub_bn", _joined(Difference, conv, _small_conv), convs=2, arithmetic=1),
    Topology("add_relu_bn_TRAP", _joined(Sum, conv, nn.Sigmoid), gone=0, standing=("sigmoid",)),
    Topology(
        "add_bn_conv",
        lambda: nn.Sequential(Sum(conv(), nn.Sigmoid()), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1)),
        arithmetic=1,
    ),
    over("conv_avgpool_bn", lambda: nn.AvgPool2d(2)),
    over(
        "conv_avgpool_pad_excluded_bn",
        lambda: nn.AvgPool2d(3, 2, padding=1, count_include_pad=False),
    ),
    stands("conv_avgpool_pad_bn_TRAP", lambda: nn.AvgPool2d(3, 2, padding=1), "pad"),
    over(
        "conv_avgpool_pad_zero_shift", lambda: nn.AvgPool2d(3, 2, padding=1), adjust=without_shift
    ),
    over("conv_adaptive_bn", lambda: nn.AdaptiveAvgPool2d(3)),
    Topology(
        "conv_gap_flatten_bn", _flat(nn.AdaptiveAvgPool2d(1)), convs=1, arithmetic=0, dynamic=True
    ),
    Topology(
        "conv_mean_bn",
        lambda: nn.Sequential(conv(), Apply(lambda x: x.mean((2, 3))), nn.BatchNorm1d(4)),
        convs=1,
        arithmetic=0,
        dynamic=True,
    ),
    Topology("conv_flatten_bn_TRAP", _flat(width=256), gone=0, standing=("",)),
    Topology(
        "conv_flatten_bn_linear",
        lambda: nn.Sequential(conv(), nn.Flatten(), nn.BatchNorm1d(256), nn.Linear(256, 5)),
        arithmetic=0,
        dynamic=True,
    ),
    stands("conv_maxpool_bn", lambda: nn.MaxPool2d(2), "only positive scales"),
    over("conv_maxpool_bn_positive", lambda: nn.MaxPool2d(3, 2, padding=1), positive=True),
    Topology(
        "conv_chunk_bn", _split(lambda x: x.chunk(2, dim=1)), convs=1, arithmetic=0, dynamic=True
    ),
    Topology("conv_split_bn", _split(lambda x: x.split([4, 4], dim=1)), convs=1, arithmetic=0),
    Topology(
        "conv_slices_bn",
        _split(lambda x: (x[:, :4], x[:, 4:])),
        convs=1,
        arithmetic=0,
        dynamic=True,
    ),
    Topology(
        "conv_overlap_bn_TRAP", _split(lambda x: (x[:, :4], x[:, 2:])), gone=0, standing=("",)
    ),
    over("conv_slice_bn", lambda: Apply(lambda x: x[:, 2:6, 1:-1, ::2]), made=8, dynamic=True),
    over("conv_pixelshuffle_bn", lambda: nn.PixelShuffle(2), made=16, dynamic=True),
    stands("conv_pixelunshuffle_bn_TRAP", lambda: nn.PixelUnshuffle(2), "", 16),
    over("conv_shuffle_bn", lambda: Apply(lambda x: shuffled(x, 2)), dynamic=True),
    over("conv_upsample_bn", lambda: nn.Upsample(scale_factor=2), dynamic=True),
    *(_upsampled(mode) for mode in ("bilinear", "bicubic")),
    Topology(
        "conv_permute_bn",
        lambda: nn.Sequential(conv(), Apply(lambda x: x.permute(0, 2, 1, 3)), nn.BatchNorm2d(8)),
        gone=0,
        standing=("",),
    ),
    over("conv_turned_bn", lambda: Apply(lambda x: x.transpose(2, 3))),
    Topology(
        "conv_tokens_bn",
        lambda: nn.Sequential(conv(), Apply(lambda x: x.flatten(2)), nn.BatchNorm1d(4)),
        convs=1,
        arithmetic=0,
        dynamic=True,
    ),
    over("conv_view_bn", lambda: Apply(lambda x: x.view(x.shape[0], 4, 4, 16)), dynamic=True),
    over("conv_flip_bn", lambda: Apply(lambda x: x.flip(3))),
    over("conv_dropout2d_bn", lambda: nn.Dropout2d()),
    over("conv_reflectpad_bn", lambda: nn.ReflectionPad2d(1)),
    over("conv_replicatepad_bn", lambda: nn.ReplicationPad2d(1)),
    stands("conv_zeropad_bn_TRAP", lambda: nn.ZeroPad2d(1), "pad"),
    stands("conv_constantpad_bn_TRAP", lambda: nn.ConstantPad2d(1, 0.5), "pad"),
    over("conv_zeropad_bn_zero_shift", lambda: nn.ZeroPad2d(1), adjust=without_shift),
    stands("conv_relu_bn", nn.ReLU, "relu"),
    stands("conv_relu6_bn_positive", nn.ReLU6, "hardtanh", positive=True),
    *(
        over(f"conv_{name}_bn_positive_zero_shift", build, positive=True, adjust=without_shift)
        for name, build in (
            ("relu", nn.ReLU),
            ("leaky", nn.LeakyReLU),
            ("prelu", lambda: nn.PReLU(4)),
        )
    ),
    stands("conv_leaky_bn_zero_shift", nn.LeakyReLU, "", adjust=without_shift),
    stands("conv_gate_bn", lambda: Gate(4), "", convs=2),
    Topology(
        "conv_bn_gate",
        lambda: nn.Sequential(conv(), nn.BatchNorm2d(4), Gate(4)),
        arithmetic=1,
        convs=2,
    ),
    Topology(
        "conv_softmax_bn_TRAP",
        lambda: nn.Sequential(conv(), Apply(lambda x: F.softmax(x, 1)), nn.BatchNorm2d(4)),
        gone=0,
        standing=("softmax",),
    ),
)
