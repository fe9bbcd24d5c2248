import sys
from pathlib import Path
from typing import NoReturn

import pytest
import typer

from bnconvert.cli.user_code import describe_failure, load_object, user_code, without_exits
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


def leaves_with_sys_exit() -> NoReturn:
    sys.exit(0)


def leaves_with_exit() -> NoReturn:
    exit(3)


def leaves_with_an_exception() -> NoReturn:
    raise SystemExit("bye")


@pytest.mark.parametrize(
    ("leave", "words"),
    [
        (leaves_with_sys_exit, "called sys.exit(0)"),
        (leaves_with_exit, "called sys.exit(3)"),
        (leaves_with_an_exception, "called sys.exit('bye')"),
    ],
)
def test_a_command_whose_code_exits_is_an_error_that_says_where(leave: object, words: str) -> None:
    with pytest.raises(LoadError) as failure:
        without_exits(leave)()  # type: ignore[arg-type]  # a function
    text = str(failure.value)
    assert f"{Path(__file__).name}:" in text
    assert f"{words} in {leave.__name__}, " in text  # type: ignore[attr-defined]  # likewise


def test_the_exits_of_commands_themselves_pass() -> None:
    def command() -> None:
        raise typer.Exit(1)

    with pytest.raises(typer.Exit):
        without_exits(command)()


def test_of_an_error_inside_a_package_the_users_own_line_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "own_line.py"
    path.write_text(
        "import torch\n\ndef factory():\n    return torch.nn.Conv2d(3, 4, 1, groups=2)\n"
    )
    with pytest.raises(LoadError) as error, user_code("own_line.py", "mend it"):
        load_object(f"{path}:factory")()
    line = "own_line.py, line 4: `return torch.nn.Conv2d(3, 4, 1, groups=2)`); mend it"
    assert str(error.value).endswith(line)
    assert "in_channels must be divisible by groups (" in str(error.value)
