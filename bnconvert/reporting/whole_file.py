"""A file that appears whole or not at all: written in a folder beside its place, then moved there.

Whatever ends the process meanwhile, the file that was there stays. The folder holds a lock while
its process lives, so that the next one to write there can remove what a killed one has left.
"""

import contextlib
import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bnconvert.errors import BnconvertError, OutputError, first_line

try:
    import fcntl
except ImportError:  # Windows: what a killed process leaves there stays
    fcntl = None  # type: ignore[assignment]

_PREFIX, _LOCK = ".bnconvert-", ".lock"
_MAKING_A_FOLDER = 60.0  # seconds that pass at most between its making and its lock
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PERMISSION = "choose a place where you may write, or change its permissions"
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
#: How code in C++ and Rust, which raises no OSError, says that the disk is full.
_FULL_WORDS = re.compile(r"No space left|Disk quota|File too large|os error (?:28|122|27)\b")


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yield where to write a file; it moves to `target` at the end, and not after an error.

    A device or a pipe, such as /dev/stdout, is written to directly.

    Raises:
        OutputError: it cannot be written there.
    """
    require_writable(target)
    if target.exists() and not target.is_file():
        with _naming(target):
            yield target
        return
    target = target.resolve()  # a link goes on pointing where it does
    with folder_beside(target) as folder, _naming(target):
        written = folder / target.name
        yield written
        if target.exists():
            shutil.copymode(target, written)
        os.replace(written, target)


@contextlib.contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """Yield an empty folder on the disk of `target`, beside it; it is removed at the end.

    Folders that processes have left there which were killed are removed as well.

    Raises:
        OutputError: nothing can be written there.
    """
    try:
        _sweep(target.parent)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=target.parent))
    except OSError as failure:
        raise OutputError(unwritable(target, failure)) from failure
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        with _naming(target):
            lock = stack.enter_context(open(folder / _LOCK, "w"))
        if fcntl is not None:
            with contextlib.suppress(OSError):  # not every file system has locks
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder


def require_writable(target: Path) -> None:
    """Raise where a file can certainly not be written; looks only.

    Raises:
        OutputError: its folder does not exist, it is itself a folder, or it may not be changed.
    """
    try:
        has_folder, is_folder = target.parent.is_dir(), target.is_dir()
        is_special = target.exists() and not target.is_file()
    except (OSError, ValueError) as failure:
        raise OutputError(f"{target}: is no path ({failure}); give another one") from None
    if not has_folder:
        raise OutputError(f"{target}: there is no folder {target.parent}; make it first")
    if is_folder:
        raise OutputError(f"{target}: is a folder; name a file, such as {target / 'name'}")
    # A file is made beside its place, also where there is one already.
    for place in (target,) if is_special else (target.parent, target):
        if place.exists() and not os.access(place, os.W_OK):
            raise OutputError(f"{target}: cannot be written ({place} is read-only); {_PERMISSION}")


def unwritable(target: Path, failure: BaseException) -> str:
    """Return the sentence "path: fact; remedy" for a file that could not be written."""
    full = disk_is_full(failure)
    remedy = "choose another path"
    if full is not None:
        remedy = "free some space there, or choose another disk"
    elif isinstance(failure, OSError) and failure.errno in _FORBIDDEN:
        remedy = _PERMISSION
    return f"{target}: cannot be written ({_words(full or failure)}); {remedy}"


def disk_is_full(failure: BaseException) -> BaseException | None:
    """Return the error that says that the disk is full, among an error and its causes."""
    seen: set[int] = set()
    current: BaseException | None = failure
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        full = isinstance(current, OSError) and current.errno in _FULL
        if full or (not isinstance(current, BnconvertError) and _FULL_WORDS.search(str(current))):
            return current
        current = current.__cause__ or current.__context__
    return None


def _words(failure: BaseException) -> str:
    if isinstance(failure, OSError) and failure.strerror:
        return failure.strerror
    return first_line(failure)


@contextlib.contextmanager
def _naming(target: Path) -> Iterator[None]:
    """Say of every error inside the context which file it is about."""
    try:
        yield
    except BnconvertError:
        raise
    except Exception as failure:
        raise OutputError(unwritable(target, failure)) from failure


def _sweep(folder: Path) -> None:
    """Remove the folders of processes that were killed."""
    for left in folder.glob(f"{_PREFIX}*"):
        if left.is_dir() and not left.is_symlink() and not _is_in_use(left):
            shutil.rmtree(left, ignore_errors=True)


def _is_in_use(folder: Path) -> bool:
    """Tell whether a process that lives may hold the lock of a folder."""
    try:
        with open(folder / _LOCK, "r+") as lock:
            if fcntl is None:
                return True
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return is_younger_than(folder, _MAKING_A_FOLDER)
    except OSError:
        return True


def is_younger_than(path: Path, seconds: float) -> bool:
    """Tell whether a file or folder was made or moved there in the last seconds; or is gone."""
    try:
        return time.time() - path.stat().st_ctime < seconds
    except OSError:
        return True
