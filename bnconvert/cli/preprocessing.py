"""How images become inputs: resize, crop, normalize, as networks are evaluated."""

from dataclasses import dataclass, fields
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnconvert.errors import LoadError

if TYPE_CHECKING:
    from torch import Tensor, nn

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image; the names are timm's.

    Attributes:
        img_size: the side of the square that is cropped from the middle, in pixels.
        crop_pct: which part of the shorter side the crop is.
        interpolation: "nearest", "bilinear" or "bicubic".
        mean: subtracted from the values in [0, 1], per channel.
        std: then divided by.
    """

    img_size: int = 224
    crop_pct: float = 0.875
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = _IMAGENET[0]
    std: tuple[float, ...] = _IMAGENET[1]

    @classmethod
    def of(cls, model: "nn.Module", *given: Any) -> "Preprocessing":
        """Return what was given, or what a timm model says of itself, or ImageNet's usual.

        Args:
            model: has a `default_cfg` if it is timm's.
            *given: the attributes in their order, None where nothing was given.
        """
        config = dict(getattr(model, "default_cfg", None) or {})
        if "input_size" in config:
            config["img_size"] = config["input_size"][-1]
        names = [field.name for field in fields(cls)]
        own = {name: config[name] for name in names if name in config}
        wanted = {n: v for n, v in zip(names, given, strict=False) if v is not None}
        return cls(**(own | wanted))

    def read(self, file: Path) -> "Tensor":
        """Return an image as an input of shape (3, img_size, img_size).

        Raises:
            LoadError: it cannot be read, or Pillow is not installed.
        """
        import numpy as np
        import torch

        try:
            from PIL import Image, UnidentifiedImageError
        except ImportError as failure:
            raise LoadError(
                f"Pillow cannot be imported ({failure}); pip install 'bnconvert[images]'"
            ) from None
        try:
            picture = Image.open(file).convert("RGB")
        except (UnidentifiedImageError, OSError) as failure:
            raise LoadError(f"{file}: is no readable image ({failure}); remove it") from None
        short = floor(self.img_size / self.crop_pct)
        scale = short / min(picture.size)
        size = [max(round(side * scale), self.img_size) for side in picture.size]
        way = Image.Resampling[self.interpolation.upper()]
        picture = picture.resize((size[0], size[1]), way)
        left, top = ((side - self.img_size) // 2 for side in picture.size)
        picture = picture.crop((left, top, left + self.img_size, top + self.img_size))
        pixels = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1)
        mean, std = (torch.tensor(v).reshape(-1, 1, 1) for v in (self.mean, self.std))
        return ((pixels - mean) / std).contiguous()
