"""Models of transformers that have batch norm, in small configurations of their own classes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.architectures.architecture import Architecture, Inputs

CLASSIFIER, SEGMENTATION = "ForImageClassification", "ForSemanticSegmentation"
SIZES = [16, 16, 24, 32]
RESNET = {
    "embedding_size": 16, "hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1],
    "layer_type": "basic",
}  # fmt: skip
TOKENS = {
    "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 48,
    "image_size": 64,
}  # fmt: skip
SERIES = {
    "num_input_channels": 3, "context_length": 64, "prediction_length": 8, "patch_length": 8,
    "d_model": 16,
}  # fmt: skip
PATCHES = SERIES | {
    "stride": 8, "num_attention_heads": 2, "num_hidden_layers": 2, "ffn_dim": 24,
    "norm_type": "batchnorm",
}  # fmt: skip
DETR = {
    "d_model": 32, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "decoder_layers": 2, "num_queries": 6, "num_labels": 5,
}  # fmt: skip
SPEECH = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "conv_dim": (16, 16), "conv_stride": (5, 2), "conv_kernel": (10, 3), "vocab_size": 20,
    "conv_depthwise_kernel_size": 7, "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}  # fmt: skip

#: What the class begins with, what it is for, and its configuration.
Kind = tuple[str, str, dict[str, Any]]
IMAGES: dict[str, Kind] = {
    "resnet": ("ResNet", CLASSIFIER, RESNET | {"layer_type": "bottleneck"}),
    "regnet": ("RegNet", CLASSIFIER, {"hidden_sizes": SIZES[1:3], "depths": [1, 1]}
        | {"embedding_size": 16, "groups_width": 8}),
    "mobilenet_v1": ("MobileNetV1", CLASSIFIER, {"depth_multiplier": 0.25}),
    "mobilenet_v2": ("MobileNetV2", CLASSIFIER, {"depth_multiplier": 0.25}),
    "mobilenet_v2_seg": ("MobileNetV2", SEGMENTATION, {"depth_multiplier": 0.25}),
    "mobilevit": ("MobileViT", CLASSIFIER, {"hidden_sizes": [16, 24, 32]}
        | {"neck_hidden_sizes": [8, 8, 16, 16, 24, 32, 64]}),
    "mobilevitv2": ("MobileViTV2", CLASSIFIER, {"width_multiplier": 0.25}),
    "efficientnet": ("EfficientNet", CLASSIFIER, {"width_coefficient": 0.25, "hidden_dim": 320}
        | {"depth_coefficient": 0.5, "image_size": 64}),
    "levit": ("Levit", CLASSIFIER, {"image_size": 64, "hidden_sizes": [32, 48, 64]}
        | {"num_attention_heads": [2, 3, 4], "depths": [1, 1, 1], "key_dim": [8, 8, 8]}),
    "swiftformer": ("SwiftFormer", CLASSIFIER, {"image_size": 64, "embed_dims": SIZES}
        | {"depths": [1, 1, 1, 1]}),
    "segformer": ("Segformer", SEGMENTATION, {"hidden_sizes": SIZES, "depths": [1, 1, 1, 1]}
        | {"decoder_hidden_size": 32, "num_attention_heads": [1, 2, 3, 4]}),
    "hgnet": ("HGNetV2", CLASSIFIER, {}),
    "pp_lcnet": ("PPLCNet", CLASSIFIER, {}),
    "textnet": ("TextNet", CLASSIFIER, {}),
    "beit_seg": ("Beit", SEGMENTATION, TOKENS | {"out_indices": [1, 2, 3, 4]}),
    "dpt": ("DPT", SEGMENTATION, TOKENS | {"backbone_out_indices": [0, 1, 2, 3]}
        | {"fusion_hidden_size": 16, "neck_hidden_sizes": [8, 16, 24, 32]}
        | {"use_batch_norm_in_fusion_residual": True}),
}  # fmt: skip
OTHERS: dict[str, Kind] = {
    "patchtst": ("PatchTST", "ForPrediction", PATCHES),
    "patchtst_cls": ("PatchTST", "ForClassification", PATCHES | {"num_targets": 4}),
    "patchtsmixer": ("PatchTSMixer", "ForPrediction", SERIES
        | {"num_layers": 2, "norm_mlp": "BatchNorm"}),
    "wav2vec2_conformer": ("Wav2Vec2Conformer", "ForCTC", SPEECH),
}  # fmt: skip


def built(kind: Kind) -> nn.Module:
    """Build a model by its configuration."""
    import transformers

    family, task, options = kind
    config = getattr(transformers, f"{family}Config")(**options)
    model: nn.Module = getattr(transformers, f"{family}{task}")(config)
    return model


def on_resnet(family: str, task: str, first: int, **options: Any) -> nn.Module:
    """Build a model on a residual network, of which it gets the stages from the first one on."""
    import transformers

    kind = "RTDetrResNetConfig" if family == "RTDetr" else "ResNetConfig"
    stages = [f"stage{number}" for number in range(first, 5)]
    backbone = getattr(transformers, kind)(**RESNET, out_features=stages)
    return built((family, task, options | {"backbone_config": backbone}))


def detr() -> nn.Module:
    """Build a detector by queries."""
    own = {"use_timm_backbone": False, "use_pretrained_backbone": False, "encoder_layers": 1}
    return on_resnet("Detr", "ForObjectDetection", 4, backbone=None, **own, **DETR)


def rt_detr() -> nn.Module:
    """Build a detector by queries at several scales."""
    scales = {"encoder_in_channels": [24, 32, 48], "decoder_in_channels": [32, 32, 32]}
    own = {"encoder_hidden_dim": 32, "num_denoising": 0}
    return on_resnet("RTDetr", "ForObjectDetection", 2, **own, **scales, **DETR)


def upernet() -> nn.Module:
    """Build a segmentation network with a head for training beside its own."""
    heads = {"hidden_size": 32, "auxiliary_in_channels": 32, "auxiliary_channels": 16}
    return on_resnet("UperNet", SEGMENTATION, 1, **heads, num_labels=6)


def pixels() -> Inputs:
    """Make two small images."""
    return {"pixel_values": torch.randn(2, 3, 64, 64)}


def series() -> Inputs:
    """Make four series of three values."""
    return {"past_values": torch.randn(4, 64, 3)}


def sound() -> Inputs:
    """Make two short recordings."""
    return {"input_values": torch.randn(2, 1200)}


def _architecture(name: str, kind: Kind, inputs: Callable[[], Inputs]) -> Architecture:
    return Architecture("hf", name, lambda: built(kind), inputs)


TRANSFORMERS = (
    *(_architecture(name, kind, pixels) for name, kind in IMAGES.items()),
    *(Architecture("hf", build.__name__, build, pixels) for build in (detr, rt_detr, upernet)),
    *(
        _architecture(name, kind, sound if kind is OTHERS["wav2vec2_conformer"] else series)
        for name, kind in OTHERS.items()
    ),
)
