"""A document that does not do what it says is noticed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import document
from tests.document import run_document

Run = Callable[[str], dict[str, object]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(document, "ROOT", tmp_path)

    def call(text: str) -> dict[str, object]:
        page = tmp_path / "page.md"
        page.write_text(text)
        return run_document(page)

    return call


def test_blocks_share_names_and_print_what_is_written(run: Run) -> None:
    names = run("```python\nx = 2\nprint(x, 1.3e-07)\n```\n\n```text\n2 9.9e-08\n```\n")
    assert names["x"] == 2
    run("```python\nprint('a', 5, 'b')\n```\n\n```text\na ... b\n```\n")
    run('```python title="own.py"\ny = 3\n```\n\n```python\nimport own\nassert own.y == 3\n```\n')


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint(1)\n```\n\n```text\n2\n```\n",
        "```console\n$ bnconvert --version\nbnconvert 99\n```\n",
        "```console\n$ bnconvert inspect net.py\n...\n$ echo $?\n0\n```\n",
        "```console\n$ python samples/no_such.py\n```\n",
    ],
)
def test_something_else_is_noticed(text: str, run: Run) -> None:
    with pytest.raises(AssertionError, match=r"page\.md, line \d"):
        run(text)
