"""The file of a checkpoint: read without running code from it."""

import argparse
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bnconvert.errors import LoadError, first_line

_LFS, _PAGE = b"version https://git-lfs", b"<"
_START = 64  # bytes that tell what a file is


class Unread(dict[Any, Any]):
    """An object of a class that torch does not know as harmless: nothing of it was run.

    Attributes:
        name: the class, with its module.
    """

    name = ""

    def __new__(cls, *_: object, **__: object) -> "Unread":
        """Take any arguments, and keep none."""
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        """Take any arguments, and keep none."""
        super().__init__()

    def __setstate__(self, state: object) -> None:
        """Take any state, and keep none."""


def read_checkpoint(path: Path) -> Any:
    """Return what a file holds; objects of classes that are not torch's are `Unread`.

    Raises:
        LoadError: there is no such file, it is something else, or it cannot be read without
            running code from it.
    """
    require_file_itself(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        _require_no_program(path)
        with torch.serialization.safe_globals([*_stand_ins(path)]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except LoadError:
        raise
    except pickle.UnpicklingError as failure:
        if "GLOBAL" not in str(failure):  # as torch names a class or a function in a pickle
            raise LoadError(
                f"{path}: is no file that torch.save has written; save model.state_dict() there"
            ) from None
        raise LoadError(
            f"{path}: holds a pickled object, and unpickling it would run code from the file; "
            "save model.state_dict() instead, and name the model by its factory"
        ) from None
    except Exception as failure:  # of a broken file, torch and safetensors raise anything
        raise LoadError(f"{path}: cannot be read ({first_line(failure)}); save it again") from None


def require_file_itself(path: Path) -> None:
    """Refuse a file that is not there, and what has been downloaded in place of one.

    Raises:
        LoadError: there is no such file, or it is a Git LFS pointer or a web page.
    """
    if not path.is_file():
        raise LoadError(f"{path}: there is no such file; give a checkpoint")
    with path.open("rb") as file:
        start = file.read(_START).lstrip()
    if start.startswith(_LFS):
        raise LoadError(
            f"{path}: is a Git LFS pointer, which stands for the file; fetch it with git lfs pull"
        )
    if start.startswith(_PAGE):
        raise LoadError(f"{path}: is a web page; download the file itself")
    if not start:
        raise LoadError(f"{path}: is empty; copy the file again")


def _require_no_program(path: Path) -> None:
    """Refuse a program, which is a zip file as what torch.save writes.

    Raises:
        LoadError: it is one of TorchScript or of torch.export.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
    if "constants.pkl" in names:
        raise LoadError(
            f"{path}: is a TorchScript program, not weights; save its weights: "
            f"torch.save(torch.jit.load({str(path)!r}).state_dict(), 'weights.pt')"
        )
    if any(name.startswith("models/") for name in names):
        raise LoadError(
            f"{path}: is a program of torch.export, not weights; give it as MODEL, or save its "
            f"weights: torch.save(dict(torch.export.load({str(path)!r}).state_dict), 'weights.pt')"
        )


def _stand_ins(path: Path) -> Iterator[Any]:
    """Yield what takes the place of the classes in a file that torch does not know as harmless."""
    yield argparse.Namespace  # the arguments of timm's training
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # the format before torch 1.6, or no such file at all
        return
    for name in names:
        if name != "argparse.Namespace":
            yield type("Unread", (Unread,), {"name": name}), name
