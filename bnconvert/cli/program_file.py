"""A torch.export program (.pt2) as MODEL: its module and its example inputs."""

import io
import json
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from bnconvert.errors import LoadError, first_line

if TYPE_CHECKING:
    from torch import nn

    from bnconvert.graphs.example import Inputs

#: Names of constants that torch.export pickles whatever they are.
_OBJECTS = ("custom_obj", "opaque_obj")


def load_program(path: Path) -> tuple["nn.Module", "Inputs | None"]:
    """Return the module of a program, in eval mode, and the inputs it was captured with.

    Raises:
        LoadError: there is no such file, it is no program, or it would run code from the file.
    """
    import torch

    if not path.is_file():
        raise LoadError(f"{path}: there is no such file; write one with torch.export.save")
    if not zipfile.is_zipfile(path):
        raise LoadError(f"{path}: is no torch.export program; write one with torch.export.save")
    if odd := _pickled(path):
        raise LoadError(
            f"{path}: {odd} holds a pickled object, and unpickling it would run code from the "
            "file; name the model by its factory"
        )
    try:
        program = torch.export.load(path)
    except Exception as failure:  # of a broken archive, torch raises anything
        raise LoadError(
            f"{path}: cannot be loaded ({first_line(failure)}); write it again with this torch"
        ) from None
    module = program.module()
    for part in module.modules():  # its own eval() refuses; the graph is what it is
        part.training = False
    if program.example_inputs is None:
        return module, None
    args, kwargs = program.example_inputs
    return module, dict(kwargs) if kwargs and not args else tuple(args)


def _pickled(path: Path) -> str:
    """Return the name of an entry that torch.export.load would unpickle as any object, or ""."""
    import torch

    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
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
