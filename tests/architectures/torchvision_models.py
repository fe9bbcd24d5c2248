"""torchvision: classification, segmentation, video, optical flow, detection, and backbones."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.architectures.architecture import Architecture, Inputs, image_list, images, words

CLASSIFIERS = words(
    "resnet18 resnet50 densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 "
    "mnasnet0_5 mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf "
    "shufflenet_v2_x0_5 vgg11_bn maxvit_t resnext50_32x4d wide_resnet50_2 quantized_resnet18 "
    "quantized_mobilenet_v2"
)
SEGMENTERS = words(
    "deeplabv3_mobilenet_v3_large deeplabv3_resnet50 fcn_resnet50 lraspp_mobilenet_v3_large"
)
VIDEO = words("mc3_18 r3d_18 r2plus1d_18 s3d")
DETECTORS = words(
    "fasterrcnn_mobilenet_v3_large_320_fpn fasterrcnn_resnet50_fpn fasterrcnn_resnet50_fpn_v2 "
    "fcos_resnet50_fpn keypointrcnn_resnet50_fpn maskrcnn_resnet50_fpn maskrcnn_resnet50_fpn_v2 "
    "retinanet_resnet50_fpn retinanet_resnet50_fpn_v2 ssdlite320_mobilenet_v3_large"
)
BACKBONES = words("fasterrcnn_resnet50_fpn ssdlite320_mobilenet_v3_large retinanet_resnet50_fpn_v2")
SIZES = {"maxvit_t": 224, "s3d": 224}
#: Their weight initialization takes long, and says so; the other one will do.
_SLOWLY_INITIALIZED = ("googlenet", "inception_v3")


def created(name: str, **options: Any) -> Callable[[], nn.Module]:
    """Return what builds a torchvision model."""

    def build() -> nn.Module:
        from torchvision.models import get_model

        if name in _SLOWLY_INITIALIZED:
            options["init_weights"] = False
        model: nn.Module = get_model(name, weights=None, **options)
        return model

    return build


def detector(name: str) -> Callable[[], nn.Module]:
    """Return what builds a detector for small images that keeps a few boxes of any score."""
    few = {"box_score_thresh": 0.0, "box_detections_per_img": 10, "rpn_post_nms_top_n_test": 50}
    few = few if "rcnn" in name else {"score_thresh": 0.0, "detections_per_img": 20}
    options: dict[str, Any] = {"weights_backbone": None, **few}
    if not name.startswith("ssd"):  # which has one size only
        options |= {"min_size": 128, "max_size": 160}
    return created(name, **options)


def backbone(name: str) -> Callable[[], nn.Module]:
    """Return what builds the part of a detector that makes features."""

    def build() -> nn.Module:
        part = created(name, weights_backbone=None)().backbone
        assert isinstance(part, nn.Module)
        return part

    return build


def films(size: int) -> Callable[[], Inputs]:
    """Return what makes two films of 16 pictures."""
    return lambda: (torch.randn(2, 3, 16, size, size),)


def frames() -> Inputs:
    """Make two pairs of successive images, and say how often the flow is refined."""
    return torch.rand(2, 3, 128, 128), torch.rand(2, 3, 128, 128), 2


def _classifier(name: str) -> Architecture:
    inner = name.removeprefix("quantized_")
    build = created(f"quantized_{inner}", quantize=False) if inner != name else created(name)
    return Architecture("tv", name, build, images(SIZES.get(name, 128)))


TORCHVISION = (
    *(_classifier(name) for name in CLASSIFIERS),
    *(
        Architecture("tv", name, created(name, weights_backbone=None), images())
        for name in SEGMENTERS
    ),
    *(Architecture("tv", name, created(name), films(SIZES.get(name, 64))) for name in VIDEO),
    Architecture("tv", "raft_large", created("raft_large"), frames),
    *(Architecture("tv", name, detector(name), image_list()) for name in DETECTORS),
)
TORCHVISION_BACKBONES = tuple(
    Architecture("tvbb", name, backbone(name), images()) for name in BACKBONES
)
