"""segmentation_models_pytorch: its decoders on a small encoder, and other encoders."""

from collections.abc import Callable
from typing import Any

from torch import nn

from tests.architectures.architecture import Architecture, images, words

DECODERS = words(
    "Unet UnetPlusPlus MAnet Linknet FPN PSPNet PAN DeepLabV3 DeepLabV3Plus UPerNet Segformer"
)


def created(decoder: str, encoder: str = "resnet18", **options: Any) -> Callable[[], nn.Module]:
    """Return what builds a decoder on an encoder."""

    def build() -> nn.Module:
        import segmentation_models_pytorch as smp

        model: nn.Module = getattr(smp, decoder)(encoder, encoder_weights=None, **options)
        return model

    return build


_MOBILE = "timm-mobilenetv3_small_100"
SEGMENTATION = tuple(
    Architecture("smp", name, build, images())
    for name, build in (
        *((name, created(name)) for name in DECODERS),
        ("Unet+timm-mobilenetv3", created("Unet", _MOBILE)),
        ("Unet+efficientnet-b0", created("Unet", "efficientnet-b0")),
        ("Unet+aux", created("Unet", aux_params={"classes": 4})),
    )
)
