"""--data: batches of real data from what the user typed, and how they are fed and scored."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnconvert.cli.loading import made_by
from bnconvert.cli.preprocessing import Preprocessing
from bnconvert.errors import LoadError

if TYPE_CHECKING:
    from torch import Tensor, nn

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
_LABELS = ("labels", "label", "targets", "target", "y")
_FORMS = "images:DIR, imagefolder:DIR, npz:FILE, package.module:loader or file.py:loader"


@dataclass(frozen=True)
class Data:
    """Batches, and what to do with one.

    Attributes:
        batches: an iterable of batches.
        forward: forward(model, batch), or None for batches that go in as they are.
        labels: labels(batch), or None where there are none.
    """

    batches: Iterable[Any]
    forward: "Callable[[nn.Module, Any], Any] | None" = None
    labels: "Callable[[Any], Tensor] | None" = None


def load_data(source: str, model: "nn.Module", batch_size: int, images: Preprocessing) -> Data:
    """Return the data that `source` names.

    Raises:
        LoadError: it names none, or random numbers, or cannot be read.
    """
    kind, _, name = source.partition(":")
    if kind == "random":
        raise LoadError(
            f"--data {source}: random numbers have statistics of their own, not those of your "
            f"data; give {_FORMS}"
        )
    if not name:
        raise LoadError(f"--data {source}: is no source of data; give {_FORMS}")
    if kind == "images":
        files = _images_in(Path(name))
        return Data(_batched(files, batch_size, images))
    if kind == "imagefolder":
        return _image_folder(Path(name), batch_size, images)
    if kind == "npz":
        return _arrays(Path(name), model, batch_size)
    made = made_by(source)
    loader = made() if callable(made) else made
    if not isinstance(loader, Iterable):
        raise LoadError(
            f"--data {source}: gives a {type(loader).__name__}; let it return an iterable of "
            "batches, such as a DataLoader"
        )
    return Data(loader)


def calibration(source: str, model: "nn.Module", batch_size: int) -> Iterable[Any]:
    """Return batches that the model takes as they are, for an export.

    Raises:
        LoadError: as `load_data`.
    """
    data = load_data(source, model, batch_size, Preprocessing.of(model))
    if data.labels is None or data.forward is None:
        return data.batches
    labels = data.labels
    return (_without(batch, labels(batch)) for batch in data.batches)


def _without(batch: Any, labels: "Tensor") -> Any:
    """Return a batch without its labels."""
    if isinstance(batch, dict):
        return {key: value for key, value in batch.items() if value is not labels}
    return batch[0]


def _images_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise LoadError(f"{folder}: there is no such folder; give one with images")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise LoadError(
            f"{folder}: holds no image; for one folder per class, give imagefolder:{folder}"
        )
    return files


def _image_folder(folder: Path, batch_size: int, images: Preprocessing) -> Data:
    import torch

    if not folder.is_dir():
        raise LoadError(f"{folder}: there is no such folder; give one with a folder per class")
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    pairs = [(file, index) for index, path in enumerate(classes) for file in _images_in(path)]
    if not pairs:
        raise LoadError(f"{folder}: has no folders of images; for a flat one, give images:{folder}")
    # In an order of chance, but always the same: batches of one class have other statistics.
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
    pairs = [pairs[index] for index in order]

    def batches() -> Iterator[Any]:
        for first in range(0, len(pairs), batch_size):
            part = pairs[first : first + batch_size]
            pixels = torch.stack([images.read(file) for file, _ in part])
            yield pixels, torch.tensor([label for _, label in part])

    return Data(batches(), lambda model, batch: model(batch[0]), lambda batch: batch[1])


def _batched(files: Sequence[Path], batch_size: int, images: Preprocessing) -> Iterator["Tensor"]:
    import torch

    for first in range(0, len(files), batch_size):
        part = files[first : first + batch_size]
        yield torch.stack([images.read(file) for file in part])


def _arrays(file: Path, model: "nn.Module", batch_size: int) -> Data:
    import numpy as np
    import torch

    if not file.is_file():
        raise LoadError(f"{file}: there is no such file; save one with numpy.savez")
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {key: torch.from_numpy(archive[key]) for key in archive.files}
    except (ValueError, TypeError, OSError) as failure:
        raise LoadError(f"{file}: cannot be read ({failure}); use numpy.savez") from None
    known = [key for key in inspect.signature(model.forward).parameters if key in arrays]
    labels = next((key for key in _LABELS if key in arrays and key not in known), None)
    others = [key for key in arrays if key != labels]
    if not known and len(others) != 1:
        raise LoadError(
            f"{file}: holds {', '.join(arrays)}, and the model's forward takes "
            f"{', '.join(inspect.signature(model.forward).parameters)}; name the arrays so"
        )
    length = len(arrays[others[0]])

    def batches() -> Iterator[dict[str, "Tensor"]]:
        for first in range(0, length, batch_size):
            yield {key: value[first : first + batch_size] for key, value in arrays.items()}

    def forward(model: "nn.Module", batch: dict[str, "Tensor"]) -> Any:
        if known:
            return model(**{key: batch[key] for key in known})
        return model(batch[others[0]])

    return Data(batches(), forward, (lambda batch: batch[labels]) if labels else None)
