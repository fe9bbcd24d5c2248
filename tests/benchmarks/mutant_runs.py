"""A copy of the tree with one wrong edit at a time, and tests run on it in forked processes."""

import compileall
import contextlib
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.mutations import Mutation

TREE = Path(__file__).parent.parent.parent
_COPIED = ("bnconvert", "tests", "samples", "docs", "README.md", "pyproject.toml")
_OPTIONS = ("-x", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-o", "addopts=", "-m")
_PASSED, _NO_TESTS = 0, 5


def preload() -> None:
    """Import what every test imports, but nothing of ours."""
    import onnx
    import onnxruntime
    import onnxscript
    import onnxslim
    import pytest
    import torch._dynamo
    import torch.export
    import torch.onnx._internal.exporter

    modules = (onnx, onnxruntime, onnxscript, onnxslim, pytest)
    assert all(modules)
    assert not any(name.split(".")[0] == "bnconvert" for name in sys.modules)
    torch.set_num_threads(1)  # a forked process has no other threads


class Scratch:
    """A copy of the tree in which one file at a time is wrong."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tree"
        self.root.mkdir()
        for name in _COPIED:
            if (TREE / name).is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(TREE / name, self.root / name, ignore=ignore)
            else:
                shutil.copy2(TREE / name, self.root / name)
        # Once and for all, so that no run on an edit has to compile the rest.
        compileall.compile_dir(self.root / "bnconvert", quiet=1)

    @contextlib.contextmanager
    def wrong(self, file: str, mutation: Mutation) -> Iterator[None]:
        """Make an edit for a while."""
        path = self.root / file
        right = path.read_text(encoding="utf-8")
        path.write_text(mutation.applied(right), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(right, encoding="utf-8")

    def run(self, tests: Sequence[str], seconds: int) -> str:
        """Run tests in a process of their own: "passed", the name of what failed, or "time"."""
        output = self.root.parent / "output"
        child = os.fork()
        if not child:
            self._be_the_child(tests, seconds, output)
        status = _waited(child, 4 * seconds)
        if status is None or os.WIFSIGNALED(status):
            return "time" if status is None else f"signal {os.WTERMSIG(status)}"
        if os.WEXITSTATUS(status) in (_PASSED, _NO_TESTS):
            return "passed"
        lines = output.read_text(errors="replace").splitlines()
        return next((x for x in lines if x.startswith(("FAILED", "ERROR"))), "failed")[:200]

    def _be_the_child(self, tests: Sequence[str], seconds: int, output: Path) -> None:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        with output.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.chdir(self.root)
        os.environ["PYTHONPATH"] = sys.path[0] = str(self.root)
        # A bytecode file knows its source by time and size, and an edit may keep both.
        sys.dont_write_bytecode = True
        for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
            del sys.modules[name]
        import pytest

        os._exit(int(pytest.main([*_OPTIONS, "not slow and not every", *tests])))


def _waited(child: int, seconds: int) -> int | None:
    """Return how a process ended, and end what it leaves; `None` where it was too slow."""
    end, status = time.monotonic() + seconds, None
    while status is None and time.monotonic() < end:
        ended, code = os.waitpid(child, os.WNOHANG)
        if ended:
            status = code
        else:
            time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.waitpid(child, 0)
    return status
