"""One file deep-copies users' models; whoever needs a copy asks it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bnconvert"


def mentions_deepcopy(source: str) -> bool:
    """Tell whether code uses `copy.deepcopy`, under whatever name it is imported."""
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        if "deepcopy" in names or (isinstance(node, ast.Attribute) and node.attr == "deepcopy"):
            return True
    return False


def test_one_file_deep_copies() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if mentions_deepcopy(path.read_text())
    }
    assert found == {"modules/copies/copying.py"}


@pytest.mark.parametrize("use", ["import copy\ncopy.deepcopy(x)", "from copy import deepcopy as d"])
def test_a_deep_copy_elsewhere_is_seen(use: str) -> None:
    assert mentions_deepcopy(use)
