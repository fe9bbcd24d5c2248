"""Folders of images as data: one without labels, or one folder per class or domain."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnconvert.cli.sources.data import Data
from bnconvert.cli.sources.images import ImagePreprocessing
from bnconvert.errors import LoadError
from bnconvert.reporting.table import listed

if TYPE_CHECKING:
    from torch import Tensor

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}


def flat_folder(source: str, folder: Path, batch_size: int, images: ImagePreprocessing) -> Data:
    """Return the images of one folder, without labels."""
    import torch

    if not folder.is_dir():
        raise LoadError(f"{folder}: there is no such folder; give one with images")
    files = _images_in(folder)
    if not files:
        raise LoadError(
            f"{folder}: holds no image; for one folder per class, give imagefolder:{folder}"
        )
    parts = _shuffled_batches(files, batch_size)
    return Data(source, (torch.stack([images.read(file) for file in part]) for part in parts))


def class_folders(source: str, folder: Path, batch_size: int, images: ImagePreprocessing) -> Data:
    """Return the images of a folder per class, with labels: torchvision's ImageFolder.

    Classes are numbered by the order of their names, and images may be in folders below.
    """
    import torch

    if not folder.is_dir():
        raise LoadError(f"{folder}: there is no such folder; give one with a folder per class")
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    found = {path: _images_below(path) for path in classes}
    if not any(found.values()):
        raise LoadError(f"{folder}: has no folders of images; for a flat one, give images:{folder}")
    if empty := [path.name for path, files in found.items() if not files]:
        raise LoadError(
            f"{folder}: {listed(empty)} holds no image, and would count as a class; remove it, "
            "or give a loader of your own (file.py:loader)"
        )
    pairs = [(file, index) for index, files in enumerate(found.values()) for file in files]

    def batches() -> Iterator[tuple["Tensor", "Tensor"]]:
        for part in _shuffled_batches(pairs, batch_size):
            pixels = torch.stack([images.read(file) for file, _ in part])
            yield pixels, torch.tensor([label for _, label in part], device="cpu")

    return Data(source, batches(), lambda batch: batch[0], lambda batch: batch[1])


def of_domains(read: Data, folder: Path) -> Data:
    """Return the data of a folder of folders whose names are domains, and no classes."""
    names = [path.name for path in sorted(folder.iterdir()) if path.is_dir()]

    def domains(batch: Any) -> list[str]:
        return [names[place] for place in batch[1].tolist()]

    return replace(read, labels=None, domains=domains)


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def _images_below(folder: Path) -> list[Path]:
    """Return the images in a folder and those below it, in the order of torchvision."""
    places = sorted((place, names) for place, _, names in os.walk(folder, followlinks=True))
    paths = (Path(place, name) for place, names in places for name in sorted(names))
    return [path for path in paths if path.suffix.lower() in _SUFFIXES]


def _shuffled_batches(items: list[Any], batch_size: int) -> Iterator[list[Any]]:
    """Yield batches of the items, shuffled in the same way at every call.

    Neighbouring files are alike, and batches of one class have other statistics than the data.
    """
    import torch

    order = torch.randperm(
        len(items), generator=torch.Generator().manual_seed(0), device="cpu"
    ).tolist()
    for first in range(0, len(items), batch_size):
        yield [items[index] for index in order[first : first + batch_size]]
