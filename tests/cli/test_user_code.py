import sys
from pathlib import Path

import pytest

from bnconvert.cli.user_code import describe_failure, load_object
from bnconvert.errors import LoadError


@pytest.fixture(autouse=True)
def _beside_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_code.py").write_text("thing = object()\n")
    (tmp_path / "wrong_code.py").write_text("1 / 0\n")
    (tmp_path / "no_code.py").write_text("def (\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("own_code", "wrong_code", "no_code"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_file_is_run_once_whatever_is_named_in_it() -> None:
    thing = load_object("own_code.py:thing")
    assert load_object(f"{Path('own_code.py').resolve()}:thing") is thing
    assert load_object("own_code:thing") is thing


def test_a_file_of_the_same_name_elsewhere_is_another() -> None:
    Path("other").mkdir()
    Path("other/own_code.py").write_text("thing = 'other'\n")
    assert load_object("own_code.py:thing") != load_object("other/own_code.py:thing")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "wrong_code.py:f",
            "wrong_code.py: raised ZeroDivisionError: .*; fix the file",
        ),
        ("no_code.py:f", "no_code.py: raised SyntaxError: .*; fix the file"),
        ("wrong_code:f", "wrong_code: raised ZeroDivisionError: .*; fix the module"),
        ("missing_code:f", "cannot be imported .*; give file.py:factory"),
        ("own_code.py:", "has no function"),
        ("own_code.py:other", "own_code.py: has no function other; name one as file.py:function"),
    ],
)
def test_code_that_fails_is_refused_and_leaves_no_module(source: str, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        load_object(source)
    assert not {"wrong_code", "no_code"} & sys.modules.keys()


def test_an_error_of_foreign_code_is_one_line_of_a_readable_length() -> None:
    assert describe_failure(ValueError("two\n   lines")) == "raised ValueError: two lines"
    assert len(describe_failure(ValueError("word " * 1000))) <= 400
