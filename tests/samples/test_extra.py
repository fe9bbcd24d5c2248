"""The `samples` extra names every package that the samples import."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.samples.sample import SAMPLES

#: Packages that are not called as their modules are.
NAMES = {"skimage": "scikit-image", "sklearn": "scikit-learn"}


def imported(path: Path) -> Iterator[str]:
    """Yield the top-level modules that a file imports, also inside of functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            yield node.module.split(".")[0]


def test_the_extra_names_what_the_samples_import() -> None:
    project = tomllib.loads((SAMPLES.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert "bnconvert[lite0]" in extras["samples"]
    required = [*project["dependencies"], *extras["samples"], *extras["lite0"]]
    named = {re.match(r"[\w-]+", name).group() for name in required}  # type: ignore[union-attr]
    files = sorted(SAMPLES.glob("*.py"))
    modules = {module for path in files for module in imported(path)}
    own = {path.stem for path in files} | {"bnconvert"}
    others = modules - own - sys.stdlib_module_names
    missing = {NAMES.get(name, name.replace("_", "-")) for name in others} - named
    assert missing == set()
