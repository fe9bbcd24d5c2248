"""The recipes of docs/hand-off.md run as they stand there, each where its package is installed."""

import runpy
import sys
from pathlib import Path

import pytest

from tests.document import ROOT, blocks

PAGE = ROOT / "docs" / "hand-off.md"
RECIPES = {
    "pt2e.py": "torchao",
    "pt2e_residual.py": "executorch.exir",
    "openvino_recipe.py": "openvino",
    "executorch_recipe.py": "executorch.exir",
    "litert_recipe.py": "litert_torch",
    "coreml_recipe.py": "coremltools",
}
pytestmark = pytest.mark.filterwarnings("default")  # what these packages say about torch


def test_every_recipe_of_the_page_is_run_here() -> None:
    titles = {block.title for block in blocks(PAGE.read_text()) if block.title}
    assert titles == {"network.py", *RECIPES}


@pytest.mark.parametrize(("title", "package"), RECIPES.items(), ids=RECIPES)
def test_a_recipe_converts_runs_and_agrees(
    title: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(package, exc_type=ImportError)
    for block in blocks(PAGE.read_text()):
        if block.title:
            (tmp_path / block.title).write_text(block.text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "network", raising=False)
    runpy.run_path(str(tmp_path / title))
    sys.modules.pop("network", None)
