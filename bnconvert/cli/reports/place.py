"""Place: where the code of a MODEL stands, for formats whose findings point at code."""

import ast
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True)
class Place:
    """The code that makes a model.

    Attributes:
        file: its path, from the current folder where it lies below it; with forward slashes.
        line: of the function.
    """

    file: str
    line: int

    @property
    def uri(self) -> str:
        """The file as a URI reference: relative to the current folder, or a file: address."""
        path = Path(self.file)
        return path.as_uri() if path.is_absolute() else quote(self.file)


def place_of(model: str) -> Place | None:
    """Return where a MODEL that is loaded stands; None for a model of timm or torchvision."""
    where, _, name = model.partition(":")
    if where in ("timm", "torchvision"):
        return None
    loaded = getattr(sys.modules.get(where), "__file__", None)
    path = Path(where if where.endswith(".py") else loaded or "").resolve()
    if not path.is_file():
        return None
    here = Path.cwd()
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return Place(shown.as_posix(), _line(path, name))


def _line(path: Path, name: str) -> int:
    """Return the line at which a file defines a name, else 1."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return 1
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return next((n.lineno for n in tree.body if isinstance(n, defined) and n.name == name), 1)
