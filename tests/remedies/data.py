"""Rows for what the command line reads data from: loaders, folders of images, .npz, scores."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import nn

from bnconvert.cli.sources.data_source import load_data
from bnconvert.cli.sources.images import ImagePreprocessing, open_image
from bnconvert.cli.sources.scores import loss_of
from tests.remedies.command_line import code, file
from tests.remedies.row import Row


def data(folder: Path, source: str, network: nn.Module | None = None) -> list[Any]:
    """Read all batches, and run the model on each."""
    network = network or nn.Conv2d(3, 2, 1)
    loaded = load_data(source, network, 4, ImagePreprocessing())
    for batch in loaded.batches:
        loaded.run(network, batch)
    return []


def npz(folder: Path, **arrays: Any) -> list[Any]:
    np.savez(folder / "data.npz", **arrays)
    return data(folder, f"npz:{folder / 'data.npz'}", TwoInputs())


def bomb(folder: Path) -> None:
    """Read an archive that unpacks to much more than its size."""
    np.savez_compressed(folder / "data.npz", x=np.zeros(100_000), y=np.zeros(100_000))
    with patch("bnconvert.cli.sources.npz._LARGE", 2**20):
        data(folder, f"npz:{folder / 'data.npz'}", TwoInputs())


class TwoInputs(nn.Module):
    """Takes inputs by name."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


def picture(folder: Path, inside: str = "") -> Path:
    place = folder / "pictures" / inside
    place.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (300, 300)).save(place / "a.png")
    return folder / "pictures"


def spoilt(folder: Path, removed: bool) -> None:
    """Read a folder with a broken picture, or remove that first."""
    place = picture(folder)
    bad = place / "b.png"
    bad.write_bytes(b"no picture")
    if removed:
        bad.unlink()
    data(folder, f"images:{place}")


def deep(folder: Path) -> Path:
    path = folder / "deep.tiff"
    Image.fromarray(np.zeros((300, 300), dtype=np.int32)).save(path)
    return path


def wide_images() -> nn.Module:
    """Return a model that takes no squares, as timm says it."""
    network = nn.Conv2d(3, 2, 1)
    vars(network)["default_cfg"] = {"input_size": (3, 128, 1024)}
    return network


def score(folder: Path, name: str) -> None:
    loss = loss_of(code(folder, name), None)
    assert loss is not None
    loss(torch.ones(2), None)


ROWS = np.ones((4, 3), dtype=np.float32)
DATA = (
    Row(
        "cli/sources/data_source.py",
        "random numbers",
        lambda folder: data(folder, "random:4"),
        lambda folder: data(folder, code(folder, "loader")),
    ),
    Row(
        "cli/sources/data_source.py",
        "is not a source of data",
        lambda folder: data(folder, "folder"),
        lambda folder: data(folder, f"images:{picture(folder)}"),
    ),
    Row(
        "cli/sources/data_source.py",
        "let it return an iterable",
        lambda folder: data(folder, code(folder, "tensor")),
        lambda folder: data(folder, code(folder, "loader")),
    ),
    Row(
        "cli/sources/data_source.py",
        "never ends",
        lambda folder: data(folder, code(folder, "endless")),
        lambda folder: data(folder, code(folder, "hundred")),
    ),
    Row(
        "cli/user_code.py",
        "{}: {}; {}",
        lambda folder: data(folder, code(folder, "needs")),
        lambda folder: data(folder, code(folder, "loader")),
    ),
    Row(
        "cli/user_code.py",
        "{}: {}; {}",
        lambda folder: data(folder, code(folder, "broken")),
        lambda folder: data(folder, code(folder, "loader")),
    ),
    Row(
        "cli/sources/data.py",
        "give what its forward takes",
        lambda folder: data(folder, code(folder, "wide")),
        lambda folder: data(folder, code(folder, "loader")),
    ),
    Row(
        "cli/sources/images.py",
        "crop_pct",
        lambda _: ImagePreprocessing(crop_pct=2),
        lambda _: ImagePreprocessing(crop_pct=1),
    ),
    Row(
        "cli/sources/images.py",
        "interpolation",
        lambda _: ImagePreprocessing(interpolation="spline"),
        lambda _: ImagePreprocessing(interpolation="bicubic"),
    ),
    Row(
        "cli/sources/images.py",
        "crop_mode",
        lambda _: ImagePreprocessing(crop_mode="tiles"),
        lambda folder: data(folder, code(folder, "loader")),
    ),
    Row(
        "cli/sources/images.py",
        "std: is",
        lambda _: ImagePreprocessing(std=(0, 1, 1)),
        lambda _: ImagePreprocessing(std=(0.2, 1, 1)),
    ),
    Row(
        "cli/sources/images.py",
        "the model expects {} x {} pixels",
        lambda _: ImagePreprocessing.of(wide_images()),
        lambda folder: data(folder, code(folder, "loader"), wide_images()),
    ),
    Row(
        "cli/sources/images.py",
        "remove it",
        lambda folder: spoilt(folder, removed=False),
        lambda folder: spoilt(folder, removed=True),
    ),
    Row(
        "cli/sources/images.py",
        "more than 8 bits",
        lambda folder: open_image(deep(folder)),
        lambda folder: data(folder, code(folder, "loader")),
    ),
    Row(
        "cli/sources/npz.py",
        "there is no such file",
        lambda folder: data(folder, f"npz:{folder / 'none.npz'}"),
        lambda folder: npz(folder, x=ROWS, y=ROWS),
    ),
    Row(
        "cli/sources/npz.py",
        "is not an .npz file",
        lambda folder: data(folder, f"npz:{file(folder, 'text')}"),
        lambda folder: npz(folder, x=ROWS, y=ROWS),
    ),
    Row(
        "cli/sources/npz.py",
        "arrays of the same length",
        lambda folder: npz(folder, x=ROWS, y=ROWS[:2]),
        lambda folder: npz(folder, x=ROWS, y=ROWS),
    ),
    Row(
        "cli/sources/npz.py",
        "unpacks to",
        lambda folder: bomb(folder),
        lambda folder: npz(folder, x=ROWS, y=ROWS),
    ),
    Row(
        "cli/sources/npz.py",
        "name the arrays so",
        lambda folder: npz(folder, a=ROWS, b=ROWS),
        lambda folder: npz(folder, x=ROWS, y=ROWS),
    ),
    Row(
        "cli/sources/npz.py",
        "cannot be read",
        lambda folder: npz(folder, x=ROWS, y=np.array([None] * 4)),
        lambda folder: npz(folder, x=ROWS, y=ROWS),
    ),
    Row(
        "cli/sources/npz.py",
        "leave it out",
        lambda folder: npz(folder, x=ROWS, y=ROWS, z=np.array(["a"] * 4)),
        lambda folder: npz(folder, x=ROWS, y=ROWS),
    ),
    Row(
        "cli/sources/scores.py",
        "name one that takes",
        lambda folder: score(folder, "constant"),
        lambda folder: score(folder, "loss"),
    ),
    Row(
        "cli/sources/scores.py",
        "for an output of class",
        lambda folder: score(folder, "words"),
        lambda folder: score(folder, "loss"),
    ),
)
