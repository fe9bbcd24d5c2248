"""A torch.export program (.pt2) as MODEL: its module and its example inputs."""

import io
import json
import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from bnconvert.errors import LoadError, first_line

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bnconvert.graphs.example import Inputs

#: All that torch.export.save writes. Older layouts are unpickled, and compiled code would be run.
_WRITTEN = re.compile(
    r"[^/]+/(?:archive_format|archive_version|version|byteorder|\.format_version"
    r"|\.storage_alignment|\.data/\w+|models/model\.json|extra/.+"
    r"|data/weights/(?:weight_\d+|model_weights_config\.json)"
    r"|data/constants/(?:(?:tensor|custom_obj|opaque_obj)_\d+|model_constants_config\.json)"
    r"|data/sample_inputs/model\.pt)"
)
#: Names of constants that torch.export pickles whatever they are.
_OBJECTS = ("custom_obj", "opaque_obj")


def load_program(
    path: Path, device: "torch.device | None" = None
) -> tuple["nn.Module", "Inputs | None"]:
    """Return the module of a program, in eval mode, and the inputs it was captured with.

    Args:
        path: the file.
        device: where it is to run, whatever its operators say; by default where it was captured.

    Raises:
        LoadError: there is no such file, it is no program, or it would run code from the file.
    """
    import torch
    from torch.export.passes import move_to_device_pass

    if not path.is_file():
        raise LoadError(f"{path}: there is no such file; write one with torch.export.save")
    if not zipfile.is_zipfile(path):
        raise LoadError(f"{path}: is no torch.export program; write one with torch.export.save")
    try:
        odd = _pickled(path)
    except Exception as failure:  # of a broken archive, zipfile and json raise anything
        raise LoadError(
            f"{path}: cannot be read ({first_line(failure)}); write it again with this torch"
        ) from None
    if odd:
        raise LoadError(
            f"{path}: {odd} holds a pickled object or is of another torch's layout, and loading it "
            "could run code from the file; name the model by its factory, or write it again with "
            "this torch"
        )
    try:
        program = torch.export.load(path)
    except Exception as failure:  # of a broken archive, torch raises anything
        raise LoadError(
            f"{path}: cannot be loaded ({first_line(failure)}); write it again with this torch"
        ) from None
    if device is not None:
        program = move_to_device_pass(program, device)
    module = program.module()
    for part in module.modules():  # its own eval() refuses; the graph is what it is
        part.training = False
    if program.example_inputs is None:
        return module, None
    args, kwargs = program.example_inputs
    return module, dict(kwargs) if kwargs and not args else tuple(args)


def move_to_main_memory(path: Path) -> None:
    """Rewrite a program that was captured on another device as one that runs in main memory."""
    import torch
    from torch.export.passes import move_to_device_pass

    from bnconvert.reporting.whole_file import whole_file

    program = move_to_device_pass(torch.export.load(path), "cpu")
    with whole_file(path) as file:
        torch.export.save(program, file)


def _pickled(path: Path) -> str:
    """Return the name of an entry that torch.export.load would unpickle as any object, or ""."""
    import torch

    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        for name in names:
            if names.count(name) > 1 or not _WRITTEN.fullmatch(name):
                return name
            folder, entry = PurePosixPath(name).parts[-2:] if "/" in name else ("", name)
            if entry.endswith("_config.json"):
                payloads = json.loads(archive.read(name)).get("config", {}).values()
                pickled = [p["path_name"] for p in payloads if p.get("use_pickle")]
                if pickled:
                    return str(PurePosixPath(folder) / pickled[0])
            if entry.startswith(_OBJECTS):
                return name
            if folder in ("sample_inputs", "weights", "constants") and entry.endswith(".pt"):
                content = archive.read(name)
                try:
                    if content:  # else there are no sample inputs
                        torch.load(io.BytesIO(content), weights_only=True)
                except Exception:  # as torch.export.load, which then unpickles it
                    return name
    return ""
