"""A norm behind a convolution, in every setting, form and dress of either."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from tests.topologies.layers import CONVS, TRANSPOSED, Apply, With, norm_of, normed, old_style
from tests.topologies.topology import Shape, Topology
from tests.zoo import FunctionalNorm, OwnBatchNorm2d, StandardizedConv, without_bias

SHAPES: dict[int, Shape] = {1: (2, 4, 9), 2: (2, 4, 9, 8), 3: (2, 4, 6, 7, 6)}
#: Layers by dimension, output channels, arguments: all of them in two dimensions.
SETTINGS: dict[str, tuple[Sequence[Any], int, dict[str, Any]]] = {
    "conv{}d_bn": (CONVS, 8, {"padding": 1}),
    "conv{}d_nobias_bn": (CONVS, 8, {"bias": False}),
    "conv{}d_strided_bn": (CONVS, 8, {"stride": 2, "dilation": 2}),
    "conv{}d_grouped_bn": (CONVS, 8, {"groups": 2}),
    "conv{}d_depthwise_bn": (CONVS, 8, {"groups": 4, "padding": 1}),
    "conv{}d_same_bn": (CONVS, 8, {"padding": "same"}),
    "conv{}d_valid_bn": (CONVS, 8, {"padding": "valid"}),
    "conv{}d_reflect_bn": (CONVS, 8, {"padding": 1, "padding_mode": "reflect"}),
    "conv{}d_replicate_bn": (CONVS, 8, {"padding": 1, "padding_mode": "replicate"}),
    "conv{}d_circular_bn": (CONVS, 8, {"padding": 1, "padding_mode": "circular"}),
    "convT{}d_bn": (TRANSPOSED, 6, {"stride": 2}),
    "convT{}d_sq_bn": (TRANSPOSED, 4, {"bias": False}),
    "convT{}d_g2_bn": (TRANSPOSED, 6, {"groups": 2, "stride": 2}),
    "convT{}d_g2_sq_bn": (TRANSPOSED, 4, {"groups": 2}),
    "convT{}d_dw_bn": (TRANSPOSED, 4, {"groups": 4}),
    "convT{}d_dw_mult2_bn": (TRANSPOSED, 8, {"groups": 4, "bias": False}),
    "convT{}d_padded_bn": (TRANSPOSED, 6, {"stride": 2, "padding": 1, "output_padding": 1}),
}
#: Those that are tried in one and in three dimensions.
SOME = {
    1: ("conv{}d_bn", "conv{}d_grouped_bn", "conv{}d_same_bn", "convT{}d_bn", "convT{}d_g2_sq_bn"),
    3: ("conv{}d_bn", "conv{}d_depthwise_bn", "conv{}d_circular_bn", "convT{}d_bn"),
}


def into_one(name: str, build: Callable[[], nn.Module], **options: Any) -> Topology:
    """Return a topology of which one convolution is left, and no arithmetic."""
    return Topology(name, build, **{"convs": 1, "arithmetic": 0, **options})


def _settings() -> Iterator[Topology]:
    def behind(layer: Any, width: int, options: dict[str, Any]) -> Callable[[], nn.Module]:
        return lambda: normed(layer(4, width, 3, **options))

    for axes, shape in SHAPES.items():
        for name in SOME.get(axes, SETTINGS):
            layers, width, options = SETTINGS[name]
            build = behind(layers[axes], width, options)
            yield into_one(name.format(axes), build, shapes=(shape,))


class ConvSubclass(nn.Conv2d):
    """A convolution whose forward does the same in other words."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._conv_forward(x, self.weight, self.bias)
        return y


def _conv() -> nn.Conv2d:
    return nn.Conv2d(4, 6, 3, padding=1)


def _without_bias() -> nn.Module:
    layer, norm = normed(_conv())
    return nn.Sequential(layer, without_bias(norm))


def _lazy() -> nn.Module:
    model = nn.Sequential(nn.LazyConv2d(6, 3), nn.LazyBatchNorm2d())
    model(torch.zeros(2, 4, 8, 8))
    return model


def _hooked(place: int) -> nn.Module:
    model = normed(_conv())
    model[place].register_forward_hook(lambda module, inputs, output: output * 2 + 1)
    return model


def _wrapped(wrap: Callable[[nn.Module], nn.Module]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        conv = _conv()
        return nn.Sequential(old_style(wrap, conv), norm_of(conv))

    return build


def _dead(model: Any) -> None:
    """Channels whose gamma is 0, whose variance is 0, and both."""
    model[1].weight[:2], model[1].running_var[1:3] = 0, 0


def _all_negative(model: Any) -> None:
    model[1].weight.copy_(-model[1].weight.abs())


TOPOLOGIES = (
    *_settings(),
    into_one("conv_affineless_bn", lambda: normed(_conv(), affine=False)),
    into_one("conv_bn_bn", lambda: normed(_conv()).append(nn.BatchNorm2d(6)), gone=2),
    into_one("conv_dropout_bn", lambda: nn.Sequential(_conv(), nn.Dropout2d(), nn.BatchNorm2d(6))),
    into_one("conv_identity_bn", lambda: nn.Sequential(_conv(), nn.Identity(), nn.BatchNorm2d(6))),
    into_one("weightnorm_param_conv_bn", _wrapped(parametrizations.weight_norm)),
    into_one("spectral_param_conv_bn", _wrapped(parametrizations.spectral_norm)),
    into_one("weightnorm_old_conv_bn", _wrapped(weight_norm)),
    into_one("spectral_old_conv_bn", _wrapped(spectral_norm)),
    into_one("stdconv_bn", StandardizedConv, shapes=((2, 3, 8, 8),)),
    into_one("hook_on_conv_bn", lambda: _hooked(0)),
    into_one("hook_on_bn", lambda: _hooked(1)),
    into_one(
        "functional_conv_bn",
        lambda: nn.Sequential(
            With(lambda x, w, b: F.conv2d(x, w, b, 1, 1), torch.randn(6, 4, 3, 3), torch.randn(6)),
            nn.BatchNorm2d(6),
        ),
    ),
    into_one("conv_functional_bn", FunctionalNorm, shapes=((2, 3, 8, 8),)),
    into_one("conv_subclass_bn", lambda: nn.Sequential(ConvSubclass(4, 6, 3), OwnBatchNorm2d(6))),
    into_one("syncbn", lambda: nn.Sequential(_conv(), nn.SyncBatchNorm(6)), dynamic=True),
    into_one("lazy_conv_bn", _lazy),
    into_one("conv_bn_relu_in_place", lambda: normed(_conv()).append(nn.ReLU(inplace=True))),
    into_one(
        "conv_bn_add_in_place", lambda: normed(_conv()).append(Apply(lambda x: x.add_(1).relu_()))
    ),
    into_one("conv_bn_tiny_eps", lambda: normed(_conv(), eps=1e-12)),
    into_one("conv_bn_large_eps", lambda: normed(_conv(), eps=1e-3)),
    into_one("conv_bn_no_bias", _without_bias),
    into_one("conv_bn_dead_channels", lambda: normed(_conv()), adjust=_dead),
    into_one("conv_bn_negative", lambda: normed(_conv()), adjust=_all_negative),
    into_one(
        "conv_bn_channels_last",
        lambda: normed(_conv()),
        memory_format=torch.channels_last,
        dynamic=True,
    ),
    into_one(
        "conv_instancenorm_untracked_bn",
        lambda: nn.Sequential(_conv(), nn.InstanceNorm2d(6), nn.BatchNorm2d(6)),
        gone=0,
        standing=("its own statistics",),
        arithmetic=None,
    ),
    into_one(
        "instancenorm_tracked",
        lambda: nn.Sequential(
            _conv(), nn.InstanceNorm2d(6, affine=True, track_running_stats=True), nn.ReLU()
        ),
        gone=None,
    ),
)
