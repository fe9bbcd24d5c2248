"""Layers, norms and tensors that serve at several places."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.topologies.layers import Branches, Cat, normed
from tests.topologies.topology import Topology
from tests.zoo import WeightReadElsewhere


class Calls(nn.Module):
    """Modules by name, and a function that says which is called on what."""

    def __init__(self, function: Callable[[Any, Tensor], Any], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def _conv() -> nn.Conv2d:
    return nn.Conv2d(4, 4, 3, padding=1)


def _norm() -> nn.BatchNorm2d:
    return nn.BatchNorm2d(4)


def _shared_conv(function: Callable[[Any, Tensor], Any]) -> Callable[[], nn.Module]:
    return lambda: Calls(function, conv=_conv(), first=_norm(), second=_norm())


def _shared_norm(function: Callable[[Any, Tensor], Any]) -> Callable[[], nn.Module]:
    return lambda: Calls(function, conv=_conv(), other=_conv(), norm=_norm())


def _tied(*names: str, norms: bool = False) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = nn.Sequential(*normed(_conv()), nn.ReLU(), *normed(_conv()))
        for name in names:
            setattr(model[3], name, getattr(model[0], name))
        if norms:
            model[4] = model[1]
        return model

    return build


def _equal_norms(model: Any) -> None:
    model[4].load_state_dict(model[1].state_dict())


class Borrowed(nn.Module):
    """One set of statistics, used by functional calls behind two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.other, self.norm = _conv(), _conv(), _norm()

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm
        for conv in (self.conv, self.other):
            x = F.batch_norm(conv(x), n.running_mean, n.running_var, n.weight, n.bias).relu()
        return x


def _chunked(bias: bool) -> Callable[[], nn.Module]:
    def function(m: Any, x: Tensor) -> Tensor:
        return torch.cat([m.block(part) for part in x.chunk(2, dim=1)], dim=1)

    return lambda: Calls(function, block=normed(nn.Conv2d(2, 3, 3, bias=bias)))


def _tiny_variance(model: Any) -> None:
    model.block[1].running_var.mul_(1e-6)


TOPOLOGIES = (
    Topology(
        "conv_two_users",
        lambda: nn.Sequential(_conv(), Branches(_norm(), nn.ReLU())),
        gone=0,
        standing=("also read by",),
    ),
    Topology(
        "conv_is_output",
        lambda: nn.Sequential(_conv(), Branches(_norm(), nn.Identity())),
        gone=0,
        standing=("output",),
    ),
    Topology(
        "shared_conv_two_bn",
        _shared_conv(lambda m, x: m.second(m.conv(m.first(m.conv(x)).relu()))),
        gone=2,
        arithmetic=0,
        dynamic=True,
    ),
    Topology(
        "shared_conv_two_inputs_bn",
        _shared_conv(lambda m, x: (m.first(m.conv(x)), m.second(m.conv(x.sigmoid())))),
        gone=2,
        arithmetic=0,
    ),
    Topology(
        "shared_conv_shared_bn",
        _shared_norm(lambda m, x: m.norm(m.conv(m.norm(m.conv(x)).relu()))),
        gone=2,
        arithmetic=0,
    ),
    Topology(
        "shared_conv_one_raw",
        _shared_norm(lambda m, x: m.conv(m.norm(m.conv(x)).relu())),
        arithmetic=0,
    ),
    Topology(
        "shared_bn_two_conv",
        _shared_norm(lambda m, x: (m.norm(m.conv(x)), m.norm(m.other(x)).relu())),
        gone=2,
        arithmetic=0,
    ),
    Topology(
        "shared_bn_one_unfoldable",
        _shared_norm(lambda m, x: m.norm(m.norm(m.conv(x)).sigmoid()).sigmoid()),
        standing=("sigmoid",),
    ),
    Topology(
        "shared_block_called_twice",
        lambda: Calls(
            lambda m, x: m.block(m.block(x)), block=nn.Sequential(*normed(_conv()), nn.ReLU())
        ),
        gone=2,
        arithmetic=0,
    ),
    Topology(
        "shared_net_two_inputs",
        lambda: Calls(
            lambda m, x: m.block(x) * m.block(x.sigmoid()),
            block=nn.Sequential(*normed(_conv()), nn.ReLU()),
        ),
        gone=2,
        arithmetic=1,
    ),
    Topology("functional_bn_shared", Borrowed, gone=2, arithmetic=0),
    Topology("tied_weights_two_bn", _tied("weight"), gone=2, arithmetic=0),
    Topology(
        "tied_weights_equal_bn", _tied("weight", "bias"), gone=2, arithmetic=0, adjust=_equal_norms
    ),
    Topology("tied_weights_one_bn_module", _tied("weight", norms=True), gone=2, arithmetic=0),
    Topology("tied_bias_two_bn", _tied("bias"), gone=2, arithmetic=0),
    Topology("tied_forward", lambda: _tied_forward(), gone=2, arithmetic=0),
    Topology("weight_read_elsewhere", WeightReadElsewhere, ((2, 3, 8, 8),), arithmetic=1),
    Topology("chunked_shared_conv_bn", _chunked(True), gone=2, arithmetic=0, dynamic=True),
    Topology("chunked_shared_conv_nobias_bn", _chunked(False), gone=2, arithmetic=0),
    Topology(
        "chunked_shared_conv_tiny_var", _chunked(True), gone=2, arithmetic=0, adjust=_tiny_variance
    ),
    Topology(
        "two_blocks_cat",
        lambda: Cat(normed(_conv()), normed(nn.Conv2d(4, 6, 1))),
        gone=2,
        arithmetic=0,
    ),
)


def _tied_forward() -> nn.Module:
    model = nn.Sequential(_norm(), nn.Conv2d(4, 4, 3), nn.ReLU(), _norm(), nn.Conv2d(4, 4, 3))
    model[4].weight = model[1].weight
    return model
