"""A norm before the layer that could take it: forward, where its border and readers allow it."""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tests.topologies.layers import Apply, Branches, Cat, Gate, Sum, With, shuffled
from tests.topologies.topology import Topology, without_shift

HALVES = {"standing": ("multiplication",), "gone": 0}


def norm_then(*layers: nn.Module, channels: int = 4) -> nn.Module:
    """Return a norm with layers behind."""
    return nn.Sequential(nn.BatchNorm2d(channels), *layers)


def conv(channels: int = 4, **options: Any) -> nn.Module:
    """Return a convolution to six channels."""
    return nn.Conv2d(channels, 6, 3, **options)


def _zero_shift(name: str, *layers: Any, **options: Any) -> Topology:
    return Topology(
        name,
        lambda: norm_then(*(layer() for layer in layers)),
        adjust=without_shift,
        **{"arithmetic": 0, **options},
    )


def _positive(name: str, *layers: Any, **options: Any) -> Topology:
    return Topology(
        name, lambda: norm_then(*(layer() for layer in layers)), positive=True, **options
    )


def _padded(mode: str) -> Topology:
    """Return a norm before a convolution that pads by values of its input, not by zeros."""
    build = partial(conv, padding=1, padding_mode=mode)
    return Topology(f"bn_conv_pad_{mode}", lambda: norm_then(build()), arithmetic=0)


def _flattened() -> nn.Module:
    return norm_then(nn.Flatten(), nn.Linear(4 * 8 * 8, 5))


TOPOLOGIES = (
    Topology("bn_conv_nopad", lambda: norm_then(conv()), arithmetic=0, dynamic=True),
    Topology("bn_conv_nobias_nopad", lambda: norm_then(conv(bias=False)), arithmetic=0),
    Topology("bn_conv_strided", lambda: norm_then(conv(stride=2, dilation=2)), arithmetic=0),
    Topology("bn_conv_valid", lambda: norm_then(conv(padding="valid")), arithmetic=0),
    Topology("bn_conv_grouped", lambda: norm_then(conv(groups=2)), arithmetic=0),
    Topology("bn_dwconv_nopad", lambda: norm_then(nn.Conv2d(4, 8, 3, groups=4)), arithmetic=0),
    Topology(
        "bn_conv1d_nopad",
        lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Conv1d(4, 6, 3)),
        ((2, 4, 9),),
        arithmetic=0,
    ),
    Topology(
        "bn_conv3d_nopad",
        lambda: nn.Sequential(nn.BatchNorm3d(4), nn.Conv3d(4, 6, 2)),
        ((2, 4, 4, 5, 4),),
        arithmetic=0,
    ),
    *(_padded(mode) for mode in ("reflect", "replicate", "circular")),
    Topology("bn_conv_pad_TRAP", lambda: norm_then(conv(padding=1)), gone=0, standing=("pad",)),
    Topology(
        "bn_conv_same_TRAP", lambda: norm_then(conv(padding="same")), gone=0, standing=("pad",)
    ),
    _zero_shift("bn_conv_pad_zero_shift", lambda: conv(padding=1)),
    Topology("bn_convT", lambda: norm_then(nn.ConvTranspose2d(4, 6, 2, 2)), gone=0, standing=("",)),
    _zero_shift("bn_convT_zero_shift", lambda: nn.ConvTranspose2d(4, 6, 3, 2, padding=1)),
    _zero_shift("bn_convT_grouped_zero_shift", lambda: nn.ConvTranspose2d(4, 6, 2, 2, groups=2)),
    Topology(
        "bn_linear",
        lambda: nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 7)),
        ((2, 5),),
        arithmetic=0,
    ),
    Topology(
        "bn_linear_nobias",
        lambda: nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 7, bias=False)),
        ((2, 5),),
        arithmetic=0,
    ),
    Topology(
        "bn_matmul",
        lambda: nn.Sequential(nn.BatchNorm1d(5), With(torch.matmul, torch.randn(5, 7))),
        ((2, 5),),
        arithmetic=0,
    ),
    Topology(
        "bn_linear3d_TRAP",
        lambda: nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 6)),
        ((2, 6, 6),),
        gone=0,
        standing=("",),
    ),
    Topology("bn_flatten_linear", _flattened, arithmetic=0, dynamic=True),
    Topology(
        "bn_avgpool_linear",
        lambda: norm_then(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)),
        arithmetic=0,
        dynamic=True,
    ),
    Topology(
        "bn_mean_linear",
        lambda: norm_then(Apply(lambda x: x.mean((2, 3))), nn.Linear(4, 5)),
        arithmetic=0,
        dynamic=True,
    ),
    Topology(
        "bn_cat_conv",
        lambda: nn.Sequential(Cat(nn.BatchNorm2d(4), nn.Sigmoid()), conv(8)),
        arithmetic=0,
        dynamic=True,
    ),
    Topology(
        "bn_upsample_conv",
        lambda: norm_then(nn.Upsample(scale_factor=2), conv()),
        arithmetic=0,
        dynamic=True,
    ),
    Topology(
        "bn_bilinear_conv",
        lambda: norm_then(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), conv()
        ),
        arithmetic=0,
    ),
    Topology(
        "bn_pixelshuffle_conv",
        lambda: norm_then(nn.PixelShuffle(2), nn.Conv2d(1, 6, 3)),
        gone=0,
        standing=("",),
    ),
    Topology(
        "bn_shuffle_conv",
        lambda: norm_then(Apply(lambda x: shuffled(x, 2)), conv()),
        arithmetic=0,
        dynamic=True,
    ),
    Topology(
        "bn_slice_conv",
        lambda: norm_then(Apply(lambda x: x[:, 1:3, 2:]), conv(2)),
        arithmetic=0,
        dynamic=True,
    ),
    Topology("bn_dropout_conv", lambda: norm_then(nn.Dropout(), conv()), arithmetic=0),
    Topology("bn_avgpool_conv", lambda: norm_then(nn.AvgPool2d(2), conv()), arithmetic=0),
    Topology("bn_reflectpad_conv", lambda: norm_then(nn.ReflectionPad2d(1), conv()), arithmetic=0),
    Topology(
        "bn_zeropad_conv_TRAP",
        lambda: norm_then(nn.ZeroPad2d(1), conv()),
        gone=0,
        standing=("pad",),
    ),
    _zero_shift("bn_zeropad_conv_zero_shift", lambda: nn.ZeroPad2d(1), conv),
    _positive("bn_maxpool_conv_positive", lambda: nn.MaxPool2d(2), conv, arithmetic=0),
    Topology(
        "bn_maxpool_conv",
        lambda: norm_then(nn.MaxPool2d(2), conv()),
        gone=0,
        standing=("only positive scales",),
    ),
    Topology("bn_relu_conv_TRAP", lambda: norm_then(nn.ReLU(), conv()), gone=0, standing=("relu",)),
    _positive("bn_relu_conv_positive", nn.ReLU, conv, arithmetic=1, **HALVES),
    _positive(
        "bn_relu_conv_pad_positive", nn.ReLU, lambda: conv(padding=1), arithmetic=1, **HALVES
    ),
    _positive(
        "bn_relu_convT_positive",
        nn.ReLU,
        lambda: nn.ConvTranspose2d(4, 6, 2, 2),
        arithmetic=1,
        **HALVES,
    ),
    _positive("bn_leaky_conv_positive", nn.LeakyReLU, conv, arithmetic=1, **HALVES),
    _positive("bn_prelu_conv_positive", lambda: nn.PReLU(4), conv, arithmetic=1, **HALVES),
    _positive(
        "bn_relu_maxpool_conv_positive",
        nn.ReLU,
        lambda: nn.MaxPool2d(2),
        conv,
        arithmetic=1,
        **HALVES,
    ),
    _positive(
        "bn_relu_linear_positive",
        nn.ReLU,
        nn.Flatten,
        lambda: nn.Linear(256, 5),
        arithmetic=1,
        **HALVES,
    ),
    _positive("bn_relu6_conv_positive", nn.ReLU6, conv, gone=0, standing=("hardtanh",)),
    _positive("bn_silu_conv_positive", nn.SiLU, conv, gone=0, standing=("silu",)),
    _positive("bn_relu_conv_zero_shift", nn.ReLU, conv, adjust=without_shift, arithmetic=0),
    Topology("bn_standalone", lambda: nn.BatchNorm2d(4), gone=0, standing=("",)),
    Topology("bn_relu_standalone", lambda: norm_then(nn.ReLU()), gone=0, standing=("",)),
    Topology("bn_two_convs", lambda: norm_then(Branches(conv(), nn.Conv2d(4, 5, 1))), arithmetic=0),
    Topology(
        "bn_two_convs_one_padded_TRAP",
        lambda: norm_then(Branches(conv(), conv(padding=1))),
        gone=0,
        standing=("pad",),
    ),
    Topology(
        "bn_conv_and_output_TRAP",
        lambda: norm_then(Branches(conv(), nn.Identity())),
        gone=0,
        standing=("output",),
    ),
    Topology("bn_gate_conv_TRAP", lambda: norm_then(Gate(4), conv()), gone=0, standing=("",)),
    Topology(
        "bn_softmax_linear_TRAP",
        lambda: nn.Sequential(nn.BatchNorm1d(5), nn.Softmax(1), nn.Linear(5, 7)),
        ((2, 5),),
        gone=0,
        standing=("softmax",),
    ),
    Topology(
        "residual_bn_conv",
        lambda: Sum(nn.Identity(), nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))),
        arithmetic=1,
    ),
    Topology(
        "bn_plus_other_conv_TRAP",
        lambda: nn.Sequential(Sum(nn.BatchNorm2d(4), nn.Sigmoid()), conv()),
        gone=0,
        standing=("",),
    ),
    Topology(
        "bn_unfold_linear",
        lambda: norm_then(Apply(lambda x: F.unfold(x, 8).flatten(1)), nn.Linear(256, 5)),
        gone=0,
        standing=("im2col",),
    ),
)
