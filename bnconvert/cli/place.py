"""Place: where the code of a MODEL stands, for formats whose findings point at code."""

import ast
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """The code that makes a model.

    Attributes:
        file: its path from the current folder, with forward slashes; a file: address elsewhere.
        line: of the function.
    """

    file: str
    line: int


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
    inside = path.is_relative_to(here)
    return Place(path.relative_to(here).as_posix() if inside else path.as_uri(), _line(path, name))


def _line(path: Path, name: str) -> int:
    """Return the line at which a file defines a name, else 1."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return 1
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return next((n.lineno for n in tree.body if isinstance(n, defined) and n.name == name), 1)
