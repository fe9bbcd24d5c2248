"""A failure bundle: one small archive with what reproduces a verification that did not succeed.

It holds the inputs as .npy files, the report's figures, versions and seed as JSON, and the command
that compares again. Weights are not in it. numpy.load reads the inputs too.
"""

import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bnconvert.errors import ExportError, OutputError, first_line
from bnconvert.graphs.example import Example
from bnconvert.reporting.report import Report
from bnconvert.reporting.whole_file import whole_file
from bnconvert.verification.references.reference import SEED

#: What became of a file that is not verified: it differs, or it cannot be judged.
Outcome = Literal["failed", "unproven"]
_LARGEST = 32 * 2**20  # bytes of inputs that are kept
_LARGEST_READ = 2**30  # an archive that unpacks to more is none of ours
_REPLAY = "replay.json"


def bundle_of(file: Path, why: Outcome) -> Path:
    """Return where the bundle of an ONNX file stands: m.onnx has m.failed.zip or m.unproven.zip."""
    stem = file.stem.removesuffix(".failed").removesuffix(".unproven")
    return file.with_name(f"{stem}.{why}.zip")


def nonfinite_words(names: Iterable[str] | None) -> list[str]:
    """Return the words of a command that compares again by which these outputs may be NaN."""
    return [word for name in names or () for word in ("--allow-nonfinite", name)]


def write_bundle(path: Path, example: Example, report: Report, command: str) -> Path | None:
    """Write the archive, in one step; return None where there is no place for it.

    Args:
        path: the archive.
        example: the inputs that were given; of many, the first rows are kept, with a note.
        report: of the verification.
        command: compares again.
    """
    arrays: list[Any] = []
    kept, notes = _capped(example)
    structure = None
    if kept is not None:
        try:
            structure = _encoded((kept.args, kept.kwargs), arrays)
        except TypeError as failure:
            arrays, notes = [], [*notes, f"the inputs are not kept: {failure}"]
    figures = report.to_dict()
    replay = {
        "inputs": structure,
        "seed": SEED,
        "versions": figures["versions"],
        "command": command,
        "notes": notes,
    }
    members = {_REPLAY: replay, "report.json": figures}
    try:
        with whole_file(path) as place, zipfile.ZipFile(place, "w") as archive:
            for name, value in members.items():
                archive.writestr(zipfile.ZipInfo(name), json.dumps(value, indent=2))
            for index, array in enumerate(arrays):
                sink = io.BytesIO()
                np.save(sink, array, allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"inputs/{index}.npy"), sink.getvalue())
    except (OSError, OutputError):
        return None  # a full disk or a read-only folder must not hide why the file is wrong
    return path


def read_bundle(path: Path) -> Example:
    """Return the inputs in an archive.

    Raises:
        ExportError: it is no such archive, is damaged, or holds no inputs.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > _LARGEST_READ:
                raise ValueError("it unpacks to more than a gigabyte")
            replay = json.loads(archive.read(_REPLAY))
            args, kwargs = _decoded(replay["inputs"], archive)
            return Example(tuple(args), kwargs)
    except Exception as failure:
        raise ExportError(
            f"{path}: holds no inputs of a verification ({first_line(failure)}); give the archive "
            "*.failed.zip or *.unproven.zip that it left, or a shape"
        ) from failure


def _capped(example: Example) -> tuple[Example | None, list[str]]:
    """Return the inputs, or their first rows where they are too large, or None; and notes."""
    total = sum(tensor.nbytes for tensor in example.tensors())
    if total <= _LARGEST:
        return example, []
    rows = example.batch or 1
    kept = example.rows(range(max(1, rows * _LARGEST // total)))
    if sum(tensor.nbytes for tensor in kept.tensors()) > _LARGEST:
        return None, [f"the inputs have {total / 1e6:.0f} MB and are not kept"]
    return kept, [f"the first {kept.batch} of {rows} rows of the inputs are kept"]


def _encoded(value: Any, arrays: list[Any]) -> Any:
    """Return nested inputs as JSON; the tensors' numbers are appended to `arrays`."""
    if isinstance(value, Tensor):
        plain = value.detach().cpu()
        arrays.append((plain.float() if plain.dtype == torch.bfloat16 else plain).numpy())
        return {"tensor": len(arrays) - 1, "dtype": str(plain.dtype).removeprefix("torch.")}
    if type(value) in (tuple, list):
        return {type(value).__name__: [_encoded(inner, arrays) for inner in value]}
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {"dict": {key: _encoded(inner, arrays) for key, inner in value.items()}}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise TypeError(f"a {type(value).__name__} cannot be written")


def _decoded(value: Any, archive: zipfile.ZipFile) -> Any:
    """Return the nested inputs that `_encoded` has written."""
    if "tensor" in value:
        content = io.BytesIO(archive.read(f"inputs/{int(value['tensor'])}.npy"))
        dtype = getattr(torch, value["dtype"])
        return torch.from_numpy(np.load(content, allow_pickle=False)).to(dtype)
    if "dict" in value:
        return {key: _decoded(inner, archive) for key, inner in value["dict"].items()}
    for kind in (tuple, list):
        if kind.__name__ in value:
            return kind(_decoded(inner, archive) for inner in value[kind.__name__])
    return value["value"]
