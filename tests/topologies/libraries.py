"""Layers of timm, where it is installed."""

from typing import Any

from torch import nn

from tests.topologies.topology import Topology


def _timm() -> Any:
    import timm.layers

    return timm.layers


def _rep_block() -> nn.Module:
    from timm.models.byobnet import RepVggBlock

    block: nn.Module = RepVggBlock(4, 4)
    return block


def _mobile_one() -> nn.Module:
    from timm.models.byobnet import MobileOneBlock

    block: nn.Module = MobileOneBlock(4, 4, 3, group_size=1)
    return block


def _act(**options: Any) -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 6, 3), _timm().BatchNormAct2d(6, **options))


def _standardized(name: str) -> nn.Module:
    return nn.Sequential(getattr(_timm(), name)(4, 6, 3), nn.BatchNorm2d(6))


def timm(name: str, build: Any, **options: Any) -> Topology:
    """Return a topology of timm's layers, of which one convolution is left, no arithmetic."""
    return Topology(name, build, requires="timm", **{"convs": 1, "arithmetic": 0, **options})


TOPOLOGIES = (
    timm("timm_bn_act", _act),
    timm("timm_bn_silu", lambda: _act(act_layer=nn.SiLU)),
    timm("timm_bn_no_act", lambda: _act(apply_act=False)),
    timm(
        "timm_frozen_bn_act",
        lambda: nn.Sequential(nn.Conv2d(4, 6, 3), _timm().FrozenBatchNormAct2d(6)),
    ),
    timm("timm_stdconv", lambda: _standardized("StdConv2d")),
    timm("timm_scaled_stdconv", lambda: _standardized("ScaledStdConv2d")),
    timm("timm_repvgg_block", _rep_block, gone=3),
    timm("timm_mobileone_block", _mobile_one, gone=3),
)
