"""A document in Markdown: its code blocks run in order, and what they print is compared.

In a document

- a block `python` is run; all of a document's blocks share their names;
- a block `python title="net.py"` is written to that file instead;
- a block `toml title="policy.toml"` likewise;
- a block `text` is what the blocks of Python before it printed; one without a language is not read;
- in a block `console`, each `$ bnconvert ...` is run, and what follows is what it printed, with
  `$ echo $?` for its exit code; of other commands the files that they run must exist.

In what is printed, `...` stands for anything, and the length of white space does not matter.
Numbers such as 1.3e-07 are rounding errors, which differ between machines: any is as good.
"""

import contextlib
import doctest
import io
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bnconvert.__main__ import main

ROOT = Path(__file__).parent.parent
_FENCE = re.compile(r"^```([a-z]+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.S | re.M)
_ROUNDING = re.compile(r"\b\d\.\d+e[+-]\d+\b")
_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        language: what the fence says that it is.
        title: the file that it stands for, or an empty text.
        text: the lines inside.
        line: the number of its first line in the document.
    """

    language: str
    title: str
    text: str
    line: int


def blocks(document: str) -> Iterator[Block]:
    """Yield the blocks of a document in their order."""
    for found in _FENCE.finditer(document):
        line = document[: found.start(3)].count("\n") + 1
        yield Block(found[1], found[2] or "", found[3], line)


def run_document(path: Path) -> dict[str, object]:
    """Run a document's blocks in the current folder; return the names that its Python made.

    Raises:
        AssertionError: something else was printed than what it says.
    """
    names: dict[str, object] = {"__name__": "document"}
    printed = ""
    with _importing_from_here():
        for block in blocks(path.read_text()):
            place = f"{path.relative_to(ROOT)}, line {block.line}"
            if block.title:
                Path(block.title).write_text(block.text)
            elif block.language == "python":
                printed += _python(block, place, names)
            elif block.language == "text":
                _compare(block.text, printed, place)
                printed = ""
            elif block.language == "console":
                _console(block, place)
    return names


@contextlib.contextmanager
def _importing_from_here() -> Iterator[None]:
    """Import files of the current folder, and forget them afterwards: documents share names."""
    before, here = set(sys.modules), str(Path.cwd())
    for name in _from_temporary_folders():  # of tests that came before in this process
        del sys.modules[name]
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(here):
                del sys.modules[name]


def _from_temporary_folders() -> list[str]:
    """Return the names of the modules that were imported from temporary folders."""
    folder = tempfile.gettempdir()
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    return [name for name, file in files.items() if str(file).startswith(folder)]


def _python(block: Block, place: str, names: dict[str, object]) -> str:
    """Run a block; return what it printed."""
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        exec(compile("\n" * (block.line - 1) + block.text, place, "exec"), names)
    return stream.getvalue()


def _console(block: Block, place: str) -> None:
    """Run the commands of a block."""
    code = 0
    for entry in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        command, _, expected = entry.replace("\\\n", "").partition("\n")
        if command == "echo $?":
            assert int(expected) == code, f"{place}: exit code {code}"
        elif command.startswith("bnconvert "):
            code, printed = _command(shlex.split(command)[1:])
            _compare(expected, printed, f"{place}: {command}")
        else:
            for script in re.findall(r"\S+/\w+\.py", command):
                assert (ROOT / script).is_file(), f"{place}: {script}"


def _command(arguments: list[str]) -> tuple[int, str]:
    """Run a command of ours; return its exit code and what it printed on both streams."""
    stream, code = io.StringIO(), 0
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        try:
            main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, stream.getvalue()


def _compare(expected: str, printed: str, place: str) -> None:
    checker = doctest.OutputChecker()
    wanted, got = (_ROUNDING.sub("1e-7", text) for text in (expected, printed))
    same = checker.check_output(wanted, got, _OPTIONS)
    assert same, f"{place}: printed\n{printed}\ninstead of\n{expected}"
