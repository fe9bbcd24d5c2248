"""Values on the command line that are checked before any work is done: seconds, not minutes."""

import difflib
from math import prod
from pathlib import Path

from bnconvert.errors import OutputError, UsageError
from bnconvert.reporting.whole_file import require_writable

PLOT_FORMATS = (".png", ".svg", ".pdf")
_MODELS = "file.py:factory, package.module:factory, timm:NAME or torchvision:NAME"
#: How the file of a torch.export program ends.
PROGRAM = ".pt2"
_SHAPES = "1,3,224,224 or x:1,3,224,224 or ids:1,16:int64"
_MOST = 2**30  # numbers in one example input: 4 GB of float32


def model_source(text: str) -> str:
    """Return a MODEL that has both its parts.

    Raises:
        UsageError: it has not, or it is a program, which has no modules.
    """
    if text.endswith(PROGRAM):
        raise UsageError(
            f"{text}: is a program, which has operators and no modules; write {_MODELS}"
        )
    kind, _, name = text.partition(":")
    if not (kind.strip() and name.strip()):
        raise UsageError(f"{text}: is not a MODEL; write {_MODELS}")
    return text


def model_or_program(text: str) -> str:
    """Return a MODEL that has both its parts, or the file of a torch.export program.

    Raises:
        UsageError: it is neither.
    """
    return text if text.endswith(PROGRAM) else model_source(text)


def output_path(path: Path | None) -> Path | None:
    """Return a path to which a file can be written, as far as can be seen.

    Raises:
        UsageError: it is a folder, there is no folder for it, or it may not be written.
    """
    if path is None:
        return None
    try:
        require_writable(path)
    except OutputError as failure:
        raise UsageError(str(failure)) from None
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: is a device; give the path of a file")
    return path


def plot_path(path: Path | None) -> Path | None:
    """Return a path for a plot.

    Raises:
        UsageError: its suffix is no format of plots, or as `output_path`.
    """
    if path is not None and path.suffix.lower() not in PLOT_FORMATS:
        raise UsageError(f"{path}: is not a format of plots; use one of {', '.join(PLOT_FORMATS)}")
    return output_path(path)


def shape_texts(texts: list[str] | None) -> list[str] | None:
    """Return the texts of --input, each of which names a shape.

    Raises:
        UsageError: one does not.
    """
    for text in texts or ():
        if not text.endswith(".zip"):  # the archive that a verification left
            shape_of(text)
    return texts


def shape_of(text: str) -> tuple[str, list[int], str]:
    """Return the name (or an empty one), the sizes and the dtype that a text of --input names.

    Raises:
        UsageError: it names none, or one that is not positive or is too large.
    """
    parts = text.split(":")
    name = parts.pop(0) if parts[0].replace("_", "a").isidentifier() else ""
    try:
        sizes = [int(size) for size in parts[0].split(",")]
        dtype = parts[1] if len(parts) > 1 else "float32"
        assert len(parts) < 3
    except (ValueError, IndexError, AssertionError):
        raise UsageError(f"--input {text}: is not a shape; write {_SHAPES}") from None
    if min(sizes) < 1:
        raise UsageError(
            f"--input {text}: {min(sizes)} is not a size; write the sizes of one example, from 1 up"
        )
    if prod(sizes) > _MOST:
        raise UsageError(f"--input {text}: is {prod(sizes):.1e} numbers; give a smaller example")
    return name, sizes, dtype


def finding_ids(texts: list[str] | None) -> list[str] | None:
    """Return ids of findings, or their first characters, of which a text may have several.

    Raises:
        UsageError: no finding's id begins so.
    """
    if texts is None:
        return None
    from bnconvert.diagnosis.catalogue import CATALOGUE

    ids = [entry.id for entry in CATALOGUE]
    wanted = [part.strip().upper() for text in texts for part in text.split(",") if part.strip()]
    for start in wanted:
        if not any(id.startswith(start) for id in ids):
            near = difflib.get_close_matches(start, ids, n=1)
            hint = f"did you mean {near[0]}?" if near else "`bnconvert rules` lists them"
            raise UsageError(f"{start}: no finding has an id that begins so; {hint}")
    return wanted


def has_images(source: str) -> bool:
    """Tell whether a source of data names files of images."""
    return source.startswith(("images:", "imagefolder:"))
