"""Image files as inputs: resized, cropped and normalized, as networks are evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnconvert.cli.options import Resampling
from bnconvert.errors import LoadError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bnconvert.graphs.example import Inputs

_CROP_MODES = ("center", "squash")
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_OWN = "give a loader of your own"
_ROUNDING = 1e-6  # 232 pixels are 224 / (224 / 232), and not less
_PIP = "pip install 'bnconvert[images]'"


@dataclass(frozen=True)
class ImagePreprocessing:
    """How an image becomes an input; the names and their meaning are timm's.

    Attributes:
        img_size: the side of the square that is cropped from the middle, in pixels.
        crop_pct: the crop's side as a fraction of the resized image's shorter side.
        interpolation: one of `Resampling`.
        mean: subtracted from the values in [0, 1], per channel.
        std: what they are then divided by.
        crop_mode: "center" keeps the proportions; "squash" resizes the image to a square first.
        source: what nobody said, in words that end a sentence.
    """

    img_size: int = 224
    crop_pct: float = 0.875
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = _IMAGENET[0]
    std: tuple[float, ...] = _IMAGENET[1]
    crop_mode: str = "center"
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            LoadError: a value is out of range or unknown.
        """
        if not 0 < self.crop_pct <= 1:
            raise LoadError(f"crop_pct: is {self.crop_pct}; use a fraction above 0 and up to 1")
        if self.interpolation not in tuple(Resampling):
            raise LoadError(
                f"interpolation: there is no {self.interpolation!r}; use one of "
                f"{', '.join(Resampling)}"
            )
        if self.crop_mode not in _CROP_MODES:
            raise LoadError(f"crop_mode: the model expects {self.crop_mode!r} images; {_OWN}")
        if min(self.std) <= 0:
            raise LoadError(f"std: is {self.std}; divide by positive numbers")

    @classmethod
    def of(
        cls,
        model: "nn.Module",
        *given: Any,
        example: "Inputs | None" = None,
        transforms: Any = None,
    ) -> "ImagePreprocessing":
        """Return what was given, else what the example, the model or its weights say.

        What none of them says is as for ImageNet; `source` tells that.

        Args:
            model: has a `default_cfg` if it is timm's.
            *given: the attributes in their order, None where nothing was given.
            example: inputs of the model, which are as large as images should be.
            transforms: those of the weights of a torchvision model, if it is one.

        Raises:
            LoadError: a value is out of range or unknown, or the model does not take squares.
        """
        names = [field.name for field in fields(cls)][:-1]
        overrides = {n: v for n, v in zip(names, given, strict=False) if v is not None}
        config = getattr(model, "default_cfg", None)
        own = _of_timm(config) if isinstance(config, Mapping) else _of_torchvision(transforms)
        if "img_size" not in overrides and (size := _size_of(example) or own.get("size")):
            height, width = size
            if height != width:
                raise LoadError(f"img_size: the model expects {height} x {width} pixels; {_OWN}")
            own["img_size"] = width
        known = {n: own[n] for n in names if n in own} | overrides
        return cls(**known, source=_said(known))

    def __str__(self) -> str:
        """Return it as a sentence."""
        return f"images are read at {self.img_size} x {self.img_size} pixels{self.source}"

    def read(self, file: Path) -> "Tensor":
        """Return an image as an input of shape (3, img_size, img_size).

        Raises:
            LoadError: it cannot be read, or Pillow is not installed.
        """
        import numpy as np
        import torch
        from PIL import Image

        picture = open_image(file)
        size = self._resized(picture.size)
        picture = picture.resize(size, Image.Resampling[self.interpolation.upper()])
        # Half a pixel goes to the even side, as torchvision crops.
        left, top = (round((side - self.img_size) / 2) for side in size)
        picture = picture.crop((left, top, left + self.img_size, top + self.img_size))
        pixels = torch.from_numpy(np.array(picture, dtype=np.float32) / 255).permute(2, 0, 1)
        mean, std = (torch.tensor(v, device="cpu").reshape(-1, 1, 1) for v in (self.mean, self.std))
        return ((pixels - mean) / std).contiguous()

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the width and height to resize an image to, before it is cropped."""
        short = floor(self.img_size / self.crop_pct + _ROUNDING)
        if self.crop_mode == "squash":
            return short, short
        width, height = (short * side // min(size) for side in size)
        return width, height


def _of_timm(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a configuration of timm says that images are read."""
    own = dict(config)
    if "input_size" in own:
        own["size"] = tuple(own["input_size"])[1:]
    return own


def _of_torchvision(transforms: Any) -> dict[str, Any]:
    """Return how the transforms of torchvision's weights read images, as far as they are known."""
    own: dict[str, Any] = {}
    for name in ("mean", "std"):
        if (values := getattr(transforms, name, None)) is not None:
            own[name] = tuple(float(value) for value in values)
    if (mode := getattr(transforms, "interpolation", None)) is not None:
        own["interpolation"] = mode.value
    crop, resize = (getattr(transforms, name, None) for name in ("crop_size", "resize_size"))
    if crop and resize:
        own["size"], own["crop_pct"] = (crop * 2)[:2], crop[0] / resize[0]
    return own


def _size_of(example: "Inputs | None") -> tuple[int, ...] | None:
    """Return the height and width of the images among example inputs, if there are any."""
    if example is None:
        return None
    from bnconvert.graphs.example import Example

    images = (t for t in Example.of(example).tensors() if t.dim() == 4 and t.shape[1] == 3)
    return next((tuple(image.shape[2:]) for image in images), None)


def _said(known: Mapping[str, Any]) -> str:
    """Say which values are ImageNet's because nobody said others."""
    words = []
    if "img_size" not in known:
        words.append("because nothing says their size (--img-size)")
    if not {"mean", "std"} <= known.keys():
        words.append(
            "with ImageNet's mean and deviation, because nothing says others (--mean, --std)"
        )
    return "".join(f", {part}" for part in words)


def open_image(file: Path) -> Any:
    """Return a Pillow image in RGB, eight bits per channel.

    Raises:
        LoadError: it cannot be read, or Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as failure:
        raise LoadError(f"Pillow cannot be imported ({failure}); {_PIP}") from None
    try:
        with Image.open(file) as picture:
            mode = picture.mode
            converted = picture.convert("RGB")
    # What Pillow raises for files that are broken in the middle is not of one class.
    except Exception as failure:
        raise LoadError(f"{file}: is not a readable image ({failure}); remove it") from None
    if mode.startswith(("I", "F")):  # Pillow cuts these off at 255
        raise LoadError(f"{file}: has more than 8 bits per channel; {_OWN}, or npz:FILE")
    return converted
