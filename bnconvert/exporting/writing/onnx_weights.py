"""Weights of an ONNX file that lie in a file of their own, beside it: both move to their place."""

import contextlib
import os
import re
from collections.abc import Iterator
from itertools import count as numbers
from pathlib import Path
from typing import Any

from bnconvert.errors import ExportError
from bnconvert.reporting.whole_file import is_younger_than
from bnconvert.verification.files.onnx_nodes import nodes_of
from bnconvert.verification.files.onnx_outline import outline_of

SINGLE_FILE_LIMIT = 2**31 - 2**20  # protobuf's 2 GB, less room for the graph itself
_MOVING = 60.0  # seconds in which a file surely follows its weights to their place


def move(source: Path, target: Path) -> None:
    """Move a file to its place in one step; weights in a separate file are moved first.

    They get a name that no file has, because the file that is replaced may need its own until
    the last moment; afterwards, weights that no file needs any more are removed.
    """
    import onnx

    weights, beside = weights_beside(source), None
    needed = _locations(target)
    if weights.exists():
        beside = _claimed(target)
        model = onnx.load(str(source), load_external_data=False)
        for entry in _location_entries(model):
            entry.value = beside.name
        onnx.save(model, str(source))
        os.replace(weights, beside)
    os.replace(source, target)
    for old in _weights_of(target):
        # Younger ones may belong to an export to the same place that moves its file just now.
        if old != beside and (old.name in needed or not is_younger_than(old, _MOVING)):
            old.unlink(missing_ok=True)


def _claimed(target: Path) -> Path:
    """Make an empty file for the weights of `target`, under a name that no file had."""
    for number in numbers(1):
        beside = weights_beside(target, "" if number == 1 else f".{number}")
        with contextlib.suppress(FileExistsError):
            beside.open("x").close()
            return beside
    raise AssertionError("numbers do not end")


def _locations(path: Path) -> set[str]:
    """Return the names of the files that hold the weights of an ONNX file, if there is one."""
    try:
        model = outline_of(path).model
    except Exception:  # there is none, or it is no ONNX file
        return set()
    return _locations_in(model)


def _locations_in(model: Any) -> set[str]:
    return {entry.value for entry in _location_entries(model)}


def _location_entries(model: Any) -> Iterator[Any]:
    """Yield the entries of a model of onnx that name a file of weights, subgraphs included."""
    for tensor in _tensors_of(model):
        yield from (entry for entry in tensor.external_data if entry.key == "location")


def _weights_of(target: Path) -> list[Path]:
    """Return the files beside `target` that have the names of its weights, old ones included."""
    named = re.compile(re.escape(target.name) + r"(\.\d+)?\.data")
    return [file for file in target.parent.iterdir() if named.fullmatch(file.name)]


def files_of(path: Path, model: Any) -> list[Path]:
    """Return a file and, where its weights are in separate files, these too.

    Args:
        path: the file.
        model: what onnx read of it.
    """
    weights = (path.parent / name for name in sorted(_locations_in(model)))
    return [file for file in (path, *weights) if file.exists()]


def weights_beside(path: Path, number: str = "") -> Path:
    """Return where the weights of a file lie that does not hold them itself."""
    return path.with_name(f"{path.name}{number}.data")


def require_contained(path: Path) -> None:
    """Require that a file reads no weights from outside its own folder.

    Raises:
        ExportError: it names an absolute path, one through `..`, or a link that leads out.
    """
    try:
        model = outline_of(path).model
    except Exception:
        return  # ONNX Runtime says what is wrong with it
    folders = path.parent.resolve(), path.resolve().parent  # a cache may link file and weights
    for entry in _location_entries(model):
        if not _lies_in(folders, entry.value):
            raise ExportError(
                f"{path}: reads its weights from {entry.value}, outside its folder; put them "
                "into the same folder, and write their name alone into the file"
            )


def _lies_in(folders: tuple[Path, Path], location: str) -> bool:
    place = (folders[0] / location).resolve()
    return any(place.is_relative_to(folder) for folder in folders)


def _tensors_of(model: Any) -> Iterator[Any]:
    """Yield every tensor that a file holds: weights, and attributes of nodes."""
    yield from model.graph.initializer
    for graph in (model.graph, *model.functions):
        for node in nodes_of(graph):
            for attribute in node.attribute:
                yield attribute.t
                yield from attribute.tensors
                yield from attribute.g.initializer
