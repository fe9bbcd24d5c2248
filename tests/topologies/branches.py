"""Parallel and consecutive linear branches: re-parameterization without knowing classes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.topologies.layers import (
    CONVS,
    NORMS,
    Branches,
    Difference,
    Scale,
    Sum,
    norm_of,
    normed,
)
from tests.topologies.topology import Topology

C = 4


def conv(kernel: Any = 3, *, channels: int = C, **options: Any) -> nn.Sequential:
    """Return a convolution that keeps the size, with a norm behind."""
    sizes = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    pads = tuple(size // 2 for size in sizes)
    return normed(nn.Conv2d(channels, C, sizes, padding=pads, **{"bias": False, **options}))


def depthwise(kernel: int = 3, **options: Any) -> nn.Sequential:
    """Return the same with a kernel per channel."""
    return conv(kernel, groups=C, **options)


def norm() -> nn.Module:
    """Return the norm of an identity branch."""
    return nn.BatchNorm2d(C)


def activated(*branches: nn.Module) -> nn.Module:
    """Return the sum of branches with a ReLU behind."""
    return nn.Sequential(Sum(*branches), nn.ReLU())


def merged(name: str, build: Any, gone: int, **options: Any) -> Topology:
    """Return branches of which one convolution is left, and no arithmetic."""
    return Topology(name, build, gone=gone, **{"convs": 1, "arithmetic": 0, **options})


def _rep_block(axes: int) -> nn.Module:
    layer = CONVS[axes]
    return activated(normed(layer(C, C, 3, padding=1)), normed(layer(C, C, 1)), NORMS[axes](C))


def _two_norms() -> nn.Module:
    return nn.Sequential(nn.Conv2d(C, C, 3, padding=1), Sum(norm(), norm()))


def _mobile_one() -> nn.Module:
    return activated(*(depthwise() for _ in range(3)), depthwise(1), norm())


def _repvit_mixer() -> nn.Module:
    """BN(dw3x3-BN + dw1x1 + x), as timm's RepVggDw."""
    branches = depthwise(), nn.Conv2d(C, C, 1, groups=C), nn.Identity()
    return nn.Sequential(Sum(*branches), norm(), nn.Conv2d(C, 2 * C, 1), nn.GELU())


class RepMixer(nn.Module):
    """FastViT's token mixer: x + gamma (mixer(x) - norm(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.mixer, self.norm = Sum(depthwise(), depthwise(1), norm()), norm()
        self.gamma = nn.Parameter(torch.randn(C, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.gamma * (self.mixer(x) - self.norm(x))
        return y


class Bordered(nn.Module):
    """DBB's norm between 1 x 1 and 3 x 3: the border holds what the norm makes of zero."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(C)

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm
        assert n.running_mean is not None
        assert n.running_var is not None
        zero = n.bias - n.running_mean * n.weight / torch.sqrt(n.running_var + n.eps)
        wide = F.pad(n(x), (1, 1, 1, 1))
        wide[:, :, :1], wide[:, :, -1:] = zero[:, None, None], zero[:, None, None]
        wide[..., :1], wide[..., -1:] = zero[:, None, None], zero[:, None, None]
        return wide


def _dbb() -> nn.Module:
    pointwise = nn.Conv2d(C, C, 1, bias=False)
    sequence = nn.Sequential(pointwise, Bordered(), nn.Conv2d(C, C, 3, bias=False), norm())
    return activated(conv(), conv(1), sequence)


def _pooled(include: bool) -> nn.Module:
    pool = nn.AvgPool2d(3, 1, padding=1, count_include_pad=include)
    return activated(conv(), nn.Sequential(nn.Conv2d(C, C, 1, bias=False), pool, norm()))


def _pooled_input(include: bool) -> nn.Module:
    pool = nn.AvgPool2d(3, 1, padding=1, count_include_pad=include)
    return activated(conv(), nn.Sequential(pool, norm()))


def _in_row(first: nn.Conv2d, second: nn.Conv2d) -> nn.Module:
    return nn.Sequential(first, norm_of(first), *normed(second), nn.ReLU())


def _bottleneck() -> nn.Module:
    body = nn.Sequential(*conv(1), nn.ReLU(), *conv(stride=2))
    return activated(body, conv(1, stride=2))


TOPOLOGIES = (
    merged("repvgg_block", lambda: _rep_block(2), 3, dynamic=True),
    merged("repvgg_block_1d", lambda: _rep_block(1), 3, shapes=((2, C, 9),)),
    merged("repvgg_block_3d", lambda: _rep_block(3), 3, shapes=((2, C, 4, 5, 4),)),
    merged("repvgg_block_stride2", lambda: activated(conv(stride=2), conv(1, stride=2)), 2),
    merged("repvgg_block_grouped", lambda: activated(conv(groups=2), conv(1, groups=2), norm()), 3),
    merged("repvgg_block_identity", lambda: activated(conv(), conv(1), nn.Identity()), 2),
    merged("repvgg_two_blocks", lambda: nn.Sequential(_rep_block(2), _rep_block(2)), 6, convs=2),
    merged("acnet_block", lambda: activated(conv(), conv((1, 3)), conv((3, 1))), 3),
    merged("mobileone_block", _mobile_one, 5),
    merged(
        "mobileone_block_bias",
        lambda: activated(depthwise(bias=True), depthwise(1, bias=True), norm()),
        3,
    ),
    merged("repvit_mixer", _repvit_mixer, 2, convs=2),
    merged("fastvit_mixer", RepMixer, 4),
    Topology("dbb_block", _dbb, gone=None, convs=3),
    merged("dbb_avgpool_branch", lambda: _pooled_input(True), 2),
    Topology("dbb_avgpool_branch_excluded_TRAP", lambda: _pooled_input(False), gone=None),
    Topology("dbb_pointwise_avgpool_branch", lambda: _pooled(True), gone=None, convs=2),
    Topology(
        "dbb_pointwise_avgpool_excluded", lambda: _pooled(False), gone=2, convs=2, arithmetic=1
    ),
    merged("conv_two_bn_add", _two_norms, 2),
    merged("two_convs_add", lambda: activated(conv(), conv(bias=True)), 2),
    merged("two_convs_sub", lambda: Difference(conv(), conv(1), norm()), 3),
    merged("large_kernel", lambda: activated(depthwise(7), depthwise(), nn.Identity()), 2),
    merged(
        "scaled_branches",
        lambda: activated(nn.Sequential(*conv(), Scale(C)), nn.Sequential(*conv(1), Scale(C))),
        2,
    ),
    merged(
        "dilated_branches",
        lambda: activated(conv(), normed(nn.Conv2d(C, C, 3, padding=2, dilation=2))),
        2,
        convs=2,
        arithmetic=1,
    ),
    Topology("residual_conv_bn", _bottleneck, gone=3, convs=3, arithmetic=1),
    Topology(
        "residual_conv_bn_identity",
        lambda: nn.Sequential(
            Sum(nn.Sequential(*conv(), nn.ReLU(), *conv()), nn.Identity()), nn.ReLU()
        ),
        gone=2,
        convs=2,
        arithmetic=1,
    ),
    Topology(
        "branches_other_stride_TRAP",
        lambda: activated(conv(stride=2), nn.Sequential(nn.AvgPool2d(2), *conv(1))),
        gone=2,
        convs=2,
        arithmetic=1,
    ),
    Topology(
        "branches_read_twice_TRAP",
        lambda: nn.Sequential(conv(), Branches(Sum(nn.Identity(), nn.Sigmoid()), nn.ReLU())),
        gone=1,
        convs=1,
    ),
    merged("row_1x1_3x3", lambda: _in_row(nn.Conv2d(C, 8, 1), nn.Conv2d(8, C, 3)), 2),
    merged(
        "row_1x1_3x3_nobias",
        lambda: nn.Sequential(
            nn.Conv2d(C, 8, 1, bias=False), *normed(nn.Conv2d(8, C, 3, padding=1, bias=False))
        ),
        1,
    ),
    merged(
        "row_1x1_3x3_padded_TRAP",
        lambda: _in_row(nn.Conv2d(C, 8, 1), nn.Conv2d(8, C, 3, padding=1)),
        2,
        convs=2,
    ),
    merged("row_3x3_1x1", lambda: _in_row(nn.Conv2d(C, 8, 3, padding=1), nn.Conv2d(8, C, 1)), 2),
    merged("row_1x1_1x1", lambda: _in_row(nn.Conv2d(C, 8, 1), nn.Conv2d(8, C, 1)), 2),
    merged(
        "row_narrow_TRAP",
        lambda: _in_row(  # merged it would be the larger
            nn.Conv2d(C, 1, 1), nn.Conv2d(1, 16, 3)
        ),
        2,
        convs=2,
    ),
)
