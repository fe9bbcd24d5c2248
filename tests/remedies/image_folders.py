"""Rows for folders of images: flat ones, and those with a folder per class."""

from pathlib import Path
from typing import Any

from tests.remedies.command_line import code
from tests.remedies.data import data, picture
from tests.remedies.row import Row


def beside_an_empty_folder(folder: Path, removed: bool = False) -> Any:
    """Read a class beside one without images, or remove that first."""
    place = picture(folder, "cats")
    (place / "none").mkdir(exist_ok=True)
    if removed:
        (place / "none").rmdir()
    return data(folder, f"imagefolder:{place}")


IMAGE_FOLDERS = (
    Row(
        "cli/sources/image_folders.py",
        "give one with images",
        lambda folder: data(folder, f"images:{folder / 'none'}"),
        lambda folder: data(folder, f"images:{picture(folder)}"),
    ),
    Row(
        "cli/sources/image_folders.py",
        "give imagefolder:",
        lambda folder: data(folder, f"images:{picture(folder, 'cats')}"),
        lambda folder: data(folder, f"imagefolder:{picture(folder, 'cats')}"),
    ),
    Row(
        "cli/sources/image_folders.py",
        "give one with a folder per class",
        lambda folder: data(folder, f"imagefolder:{folder / 'none'}"),
        lambda folder: data(folder, f"imagefolder:{picture(folder, 'cats')}"),
    ),
    Row(
        "cli/sources/image_folders.py",
        "for a flat one, give images:",
        lambda folder: data(folder, f"imagefolder:{picture(folder)}"),
        lambda folder: data(folder, f"images:{picture(folder)}"),
    ),
    Row(
        "cli/sources/image_folders.py",
        "would count as a class",
        beside_an_empty_folder,
        lambda folder: (
            beside_an_empty_folder(folder, removed=True),
            data(folder, code(folder, "loader")),
        ),
    ),
)
