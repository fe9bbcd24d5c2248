"""Models of 40 families more, for the benchmark: tests do not sweep them."""

from collections.abc import Callable

import torch
from torch import nn

from tests.architectures import segmentation_models, torchvision_models
from tests.architectures.architecture import Architecture, Inputs, images
from tests.architectures.timm_models import created

#: A small model of each, by family. The second half holds no batch norms, or few.
TIMM_FAMILIES = {
    "bat": "bat_resnext26ts",
    "cspresnext": "cspresnext50",
    "densenet, blurred": "densenetblur121d",
    "dpn, from mxnet": "dpn68b",
    "eca": "eca_resnext26ts",
    "eca, light": "ecaresnetlight",
    "efficientnet edge": "efficientnet_es",
    "fastvit with attention": "fastvit_sa12",
    "fbnet": "fbnetc_100",
    "fbnetv3": "fbnetv3_b",
    "gc": "gcresnext26ts",
    "lcnet": "lcnet_035",
    "mnasnet with squeeze": "semnasnet_075",
    "mobilenet edge": "mobilenet_edgetpu_v2_xs",
    "mobilenetv1": "mobilenetv1_100",
    "mobilenetv4 with attention": "mobilenetv4_hybrid_medium",
    "regnety": "regnety_002",
    "regnetz": "regnetz_005",
    "resnet, antialiased": "resnetaa50d",
    "rexnet, rounded": "rexnetr_100",
    "spnasnet": "spnasnet_100",
    "tinynet": "tinynet_e",
    "caformer": "caformer_s18",
    "convit": "convit_tiny",
    "convnextv2": "convnextv2_atto",
    "crossvit": "crossvit_9_240",
    "edgenext": "edgenext_xx_small",
    "efficientnet, group norm": "efficientnet_b0_gn",
    "gmlp": "gmlp_ti16_224",
    "mambaout": "mambaout_femto",
    "nf_regnet": "nf_regnet_b0",
    "poolformerv2": "poolformerv2_s12",
    "pvt": "pvt_v2_b0",
    "vit": "vit_tiny_patch16_224",
}
SEGMENTERS = {
    "unet on mobilenet": ("Unet", "mobilenet_v2"),
    "fpn on mobileone": ("FPN", "mobileone_s0"),
    "unet on mix transformer": ("Unet", "mit_b0"),
    "deeplab on regnet": ("DeepLabV3Plus", "tu-regnety_002"),
}
#: Where 128 pixels do not go.
SIZES = {
    "bat_resnext26ts": 256,
    "convit_tiny": 224,
    "crossvit_9_240": 240,
    "gmlp_ti16_224": 224,
    "vit_tiny_patch16_224": 224,
}


def conv_tasnet() -> nn.Module:
    """Build a separator of speakers, small."""
    from torchaudio.models import ConvTasNet

    model: nn.Module = ConvTasNet(enc_num_feats=128, msk_num_feats=64, msk_num_hidden_feats=128)
    return model


def sound() -> Inputs:
    """Make two waveforms."""
    return (torch.randn(2, 1, 4000),)


def _of(family: str, group: str, name: str, build: Callable[[], nn.Module]) -> Architecture:
    return Architecture(group, name, build, images(SIZES.get(name, 128)), family=family)


FAMILIES = (
    *(_of(family, "timm", name, created(name)) for family, name in TIMM_FAMILIES.items()),
    *(
        _of(family, "smp", "+".join(parts), segmentation_models.created(*parts))
        for family, parts in SEGMENTERS.items()
    ),
    _of("squeezenet", "tv", "squeezenet1_1", torchvision_models.created("squeezenet1_1")),
    Architecture("misc", "ta_conv_tasnet", conv_tasnet, sound, family="conv_tasnet"),
)
