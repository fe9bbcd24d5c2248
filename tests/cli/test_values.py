import os
from pathlib import Path

import pytest

from bnconvert.cli.values import model_source, output_path, plot_path, shape_of, shape_texts
from bnconvert.errors import UsageError
from tests.cli.conftest import Run

COMMANDS = ["inspect", "suggest", "convert", "prepare", "recompute", "fold", "export", "diagnose"]


@pytest.mark.parametrize("text", ["model", "", ":", "file.py:", ":factory", " : "])
def test_a_model_has_two_parts(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a MODEL; write file\.py:factory"):
        model_source(text)
    assert model_source("a.py:b") == "a.py:b"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_that_is_none_is_a_usage_error_at_once(
    run: Run, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnconvert.cli.models.model_source.load_model", None)  # not even called
    needed = {
        "convert": ["--policy", "Frozen()"],
        "prepare": ["--policy", "Frozen()"],
        "suggest": ["--batch-size", "2"],
        "recompute": ["--data", "images:.", "-o", "x.pt"],
        "diagnose": ["--data", "images:."],
    }
    result = run(command, "nothing", *needed.get(command, []))
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: nothing: is not a MODEL; write file.py:factory")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (".", "is a folder; name a file, such as"),
        ("folder", "is a folder; name a file, such as"),
        ("missing/m.onnx", "there is no folder missing; make it first"),
        ("file/m.onnx", "there is no folder file; make it first"),
        ("x" * 300, "is no path"),
        ("pipe", "is a device; give the path of a file"),
    ],
)
def test_an_output_is_looked_at_before_the_work(
    run: Run, factory: str, name: str, said: str
) -> None:
    Path("folder").mkdir()
    Path("file").touch()
    os.mkfifo("pipe")
    for option in ("-o", "--report"):
        result = run("export", f"{factory}:broken", option, name)
        assert result.code == 2, "the factory, which raises, was not called"
        assert said in result.err


@pytest.mark.parametrize("refused", ["here", "here/old.onnx"])
def test_a_place_that_may_not_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "old.onnx").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / refused)
    with pytest.raises(UsageError, match=r"is read-only\); choose a place where you may write"):
        output_path(folder / "old.onnx")
    monkeypatch.undo()
    assert output_path(folder / "old.onnx") == folder / "old.onnx"
    assert output_path(None) is None


def test_a_plot_has_a_format() -> None:
    with pytest.raises(UsageError, match=r"p\.gif: is not a format of plots; use one of \.png"):
        plot_path(Path("p.gif"))
    assert plot_path(Path("p.SVG")) == Path("p.SVG")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2,3,-1,-1", "-1 is not a size; write the sizes of one example, from 1 up"),
        ("x:0,3", "0 is not a size"),
        ("100000,100000,100000", "is 1.0e\\+15 numbers; give a smaller example"),
        ("2,three", "is not a shape; write 1,3,224,224"),
        ("2,3.5", "is not a shape"),
        ("x:1,2:int64:again", "is not a shape"),
        ("__import__('os').mkdir('exploded')", "is not a shape"),
    ],
)
def test_a_shape_that_cannot_be_is_a_usage_error(
    run: Run, factory: str, text: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        shape_texts([text])
    result = run("inspect", f"{factory}:broken", "--input", text)
    assert result.code == 2
    assert result.err.startswith("error: --input")
    assert not Path("exploded").exists()


def test_a_shape_may_have_a_name_and_a_dtype() -> None:
    assert shape_of("ids:1,16:int64") == ("ids", [1, 16], "int64")
    assert shape_of("1,3") == ("", [1, 3], "float32")
    assert shape_texts(None) is None
