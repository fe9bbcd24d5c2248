"""Python objects that the user names: file.py:name or package.module:name."""

import contextlib
import difflib
import functools
import importlib
import importlib.util
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import shorten
from types import ModuleType
from typing import Any, ParamSpec

from bnconvert.errors import BnconvertError, LoadError

_LONGEST = 400  # characters of an error message from the user's code
_LINE = 100  # characters of a line of it
_MOST = 5  # functions of a file that are listed
#: Where code lies that is not the user's: Python itself, this package, and what is installed, which
#: may be on the path from several places.
_INSTALLED = (
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")),
    str(Path(__file__).parent.parent),
)
_PACKAGES = re.compile(r"(site|dist)-packages")
_P = ParamSpec("_P")


def load_object(source: str) -> Any:
    """Return the object that `file.py:name` or `package.module:name` names.

    Raises:
        LoadError: there is no such object.
    """
    where, _, name = source.partition(":")
    module = _import(where)
    found = getattr(module, name or "-", None)
    if found is None:
        raise LoadError(
            f"{where}: has no function {name or '?'}; {_near(module, name)}name one as "
            "file.py:function"
        )
    return found


def _near(module: ModuleType, name: str) -> str:
    """Return the beginning of a remedy: which function of a module may have been meant."""
    defined = [
        other
        for other, value in vars(module).items()
        if callable(value)
        and not other.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
    ]
    near = difflib.get_close_matches(name, defined, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]}? else "
    return f"it has {', '.join(defined[:_MOST])}; " if defined else ""


@contextlib.contextmanager
def user_code(name: str, remedy: str) -> Iterator[None]:
    """Run the user's code: what it prints goes to stderr, and no exception of it gets out.

    Args:
        name: what it is, for the error message.
        remedy: what to do about it.

    Raises:
        LoadError: it raises anything, `SystemExit` included, with which it would end the command.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for results
            yield
    except BnconvertError:
        raise
    except (Exception, SystemExit) as failure:
        raise LoadError(f"{name}: {describe_with_line(failure)}; {remedy}") from failure


def without_exits(command: Callable[_P, None]) -> Callable[_P, None]:
    """Return a command that no sys.exit in a forward, a score or a loader ends as if it were done.

    Raises:
        LoadError: something that it runs calls sys.exit; it says where.
    """

    @functools.wraps(command)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except SystemExit as failure:  # typer's own exits are other exceptions
            frames = traceback.extract_tb(failure.__traceback__)
            place = next(f for f in reversed(frames) if not f.filename.startswith("<"))  # exit()
            raise LoadError(
                f"{place.filename}:{place.lineno}: {describe_failure(failure)} in {place.name}, "
                "which would end the command as if it were done; raise an exception there"
            ) from failure

    return call


def describe_failure(failure: BaseException) -> str:
    """Describe an exception from the user's code, as a part of a sentence."""
    if isinstance(failure, SystemExit):
        said = f"called sys.exit({'' if failure.code is None else repr(failure.code)})"
    else:
        said = f"raised {type(failure).__name__}: {failure}"
    return shorten(said, _LONGEST, placeholder=" ...")


def describe_with_line(failure: BaseException) -> str:
    """Describe an exception, and show the innermost line that is the user's own, if any is."""
    return describe_failure(failure) + _line_of(failure)


def _line_of(failure: BaseException) -> str:
    frames = traceback.extract_tb(failure.__traceback__)
    own = [
        frame
        for frame in frames
        if not frame.filename.startswith(("<", *_INSTALLED))
        and not _PACKAGES.search(frame.filename)
    ]
    if not own or not own[-1].line:
        return ""
    file = Path(own[-1].filename)
    here = Path.cwd()
    shown = file.relative_to(here) if file.is_relative_to(here) else file
    return (
        f" ({shown}, line {own[-1].lineno}: `{shorten(own[-1].line, _LINE, placeholder=' ...')}`)"
    )


def _import(where: str) -> ModuleType:
    """Import a module by its name, or the module in a .py file."""
    path = Path(where)
    if path.suffix == ".py":
        if not path.is_file():
            raise LoadError(f"{where}: there is no such file; give a path from here")
        return _execute(path)
    sys.path.insert(0, str(Path.cwd()))
    with user_code(where, "fix the module"):
        try:
            return importlib.import_module(where)
        except ImportError as failure:
            raise LoadError(
                f"{where}: cannot be imported ({failure}); give file.py:factory"
            ) from None


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
        with user_code(str(path), "fix the file"):
            spec.loader.exec_module(module)
    except BnconvertError:
        sys.modules.pop(path.stem, None)
        raise
    return module
