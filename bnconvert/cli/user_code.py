"""Python objects that the user names: file.py:name or package.module:name."""

import importlib
import importlib.util
import sys
from pathlib import Path
from textwrap import shorten
from types import ModuleType
from typing import Any

from bnconvert.errors import LoadError

_LONGEST = 400  # characters of an error message from the user's code


def load_object(source: str) -> Any:
    """Return the object that `file.py:name` or `package.module:name` names.

    Raises:
        LoadError: there is no such object.
    """
    where, _, name = source.partition(":")
    found = getattr(_import(where), name or "-", None)
    if found is None:
        raise LoadError(f"{where}: has no function {name or '?'}; name one as file.py:function")
    return found


def describe_failure(failure: Exception) -> str:
    """Describe an exception from the user's code, as a part of a sentence."""
    return shorten(f"raised {type(failure).__name__}: {failure}", _LONGEST, placeholder=" ...")


def _import(where: str) -> ModuleType:
    """Import a module by its name, or the module in a .py file."""
    path = Path(where)
    if path.suffix == ".py":
        if not path.is_file():
            raise LoadError(f"{where}: there is no such file; give a path from here")
        return _execute(path)
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(where)
    except ImportError as failure:
        raise LoadError(f"{where}: cannot be imported ({failure}); give file.py:factory") from None
    except Exception as failure:
        raise LoadError(f"{where}: {describe_failure(failure)}; fix the module") from failure


def _execute(path: Path) -> ModuleType:
    """Return the module of a file, which is executed only once."""
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path.resolve()):
        return known
    sys.path.insert(0, str(path.parent.resolve()))
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as failure:
        del sys.modules[path.stem]
        raise LoadError(f"{path}: {describe_failure(failure)}; fix the file") from failure
    return module
