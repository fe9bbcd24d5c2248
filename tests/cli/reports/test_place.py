import sys
from pathlib import Path

import pytest

from bnconvert.cli.reports.place import Place, place_of

CODE = "import torch\n\n\ndef factory():\n    pass\n\n\nmade = factory\n"


def test_a_model_stands_where_its_function_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "net.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    assert place_of("src/net.py:factory") == Place("src/net.py", 4)
    assert place_of("src/net.py:made") == Place("src/net.py", 1)
    assert place_of(f"{tmp_path}/src/net.py:factory") == Place("src/net.py", 4)
    monkeypatch.chdir(tmp_path / "src")
    (tmp_path / "else.py").write_text("def f(:")
    assert place_of("../else.py:f") == Place((tmp_path / "else.py").as_posix(), 1)


def test_a_module_that_is_loaded_has_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = place_of(f"{__name__}:test_a_module_that_is_loaded_has_its_file")
    assert place is not None
    assert place.file == Path(__file__).resolve().as_posix()
    assert place.line > 1
    assert __name__ in sys.modules


def test_a_place_has_an_address() -> None:
    assert Place("src/my net.py", 1).uri == "src/my%20net.py"
    assert Place("/src/my net.py", 1).uri == "file:///src/my%20net.py"


def test_models_of_packages_and_files_that_are_gone_stand_nowhere() -> None:
    assert place_of("timm:resnet18") is None
    assert place_of("torchvision:resnet18") is None
    assert place_of("gone.py:factory") is None
    assert place_of("not.loaded:factory") is None
