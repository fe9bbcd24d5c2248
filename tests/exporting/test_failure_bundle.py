import json
import os
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_flatten

import bnconvert as bnc
from bnconvert.exporting import failure_bundle
from bnconvert.exporting.failure_bundle import bundle_of, read_bundle, write_bundle
from bnconvert.graphs.example import Example
from bnconvert.reporting.report import Report

REPORT = Report("it differs")


@pytest.mark.parametrize(
    "example",
    [
        Example((torch.rand(2, 3),), {}),
        Example((), {"x": torch.arange(4), "on": True, "size": None}),
        Example(([torch.rand(2), {"a": torch.rand(1).bfloat16()}], 0.5), {"mode": "fast"}),
        Example((torch.rand(2).half(), (torch.tensor([True, False]), 3)), {}),
    ],
    ids=["one", "keywords", "nested", "dtypes"],
)
def test_inputs_come_back_as_they_were(example: Example, tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "m.failed.zip", example, REPORT, "bnconvert verify")
    assert path is not None
    back = read_bundle(path)
    leaves, structure = tree_flatten((back.args, back.kwargs))
    expected, same = tree_flatten((example.args, example.kwargs))
    assert structure == same
    for leaf, other in zip(leaves, expected, strict=True):
        assert type(leaf) is type(other)
        assert torch.equal(leaf, other) if isinstance(leaf, torch.Tensor) else leaf == other


def test_an_archive_holds_figures_versions_seed_and_command(tmp_path: Path) -> None:
    path, x = tmp_path / "m.failed.zip", torch.rand(2, 3)
    write_bundle(path, Example((x,), {}), REPORT, "bnconvert verify MODEL m.onnx")
    with zipfile.ZipFile(path) as archive:
        replay = json.loads(archive.read("replay.json"))
        assert json.loads(archive.read("report.json"))["title"] == "it differs"
    assert replay["command"] == "bnconvert verify MODEL m.onnx"
    assert replay["seed"] == 0
    assert replay["versions"]["torch"] == version("torch")
    with np.load(path, allow_pickle=False) as arrays:
        assert (arrays["inputs/0"] == x.numpy()).all()
    assert os.listdir(tmp_path) == ["m.failed.zip"]


def test_of_large_inputs_the_first_rows_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure_bundle, "_LARGEST", 100)
    path, x = tmp_path / "m.failed.zip", torch.rand(5, 10)
    write_bundle(path, Example((x,), {}), REPORT, "")
    torch.testing.assert_close(read_bundle(path).args[0], x[:2])
    write_bundle(path, Example((torch.rand(1, 100),), {}), REPORT, "")
    with pytest.raises(bnc.ExportError, match="holds no inputs of a verification"):
        read_bundle(path)


def test_inputs_that_cannot_be_written_are_left_out(tmp_path: Path) -> None:
    class Boxes:
        pass

    path = write_bundle(tmp_path / "m.failed.zip", Example((Boxes(),), {}), REPORT, "")
    assert path is not None
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("replay.json"))["notes"] == [
            "the inputs are not kept: a Boxes cannot be written"
        ]


def test_without_a_place_there_is_none_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert write_bundle(tmp_path / "nowhere" / "m.failed.zip", Example((), {}), REPORT, "") is None
    old = tmp_path / "m.failed.zip"
    old.write_text("old")

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert write_bundle(old, Example((), {}), REPORT, "") is None
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("m.failed.zip", "old")]


def test_an_archive_of_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.failed.zip"
    with pytest.raises(bnc.ExportError, match=r"; give the archive \*\.failed\.zip"):
        read_bundle(path)
    path.write_bytes(b"PK no archive")
    with pytest.raises(bnc.ExportError, match="holds no inputs"):
        read_bundle(path)
    write_bundle(path, Example((torch.rand(100),), {}), REPORT, "")
    monkeypatch.setattr(failure_bundle, "_LARGEST_READ", 100)
    with pytest.raises(bnc.ExportError, match="more than a gigabyte"):
        read_bundle(path)


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "m.failed.zip"
    write_bundle(path, Example((torch.rand(1),), {}), REPORT, "")
    with zipfile.ZipFile(path) as archive:
        replay = archive.read("replay.json")
    with zipfile.ZipFile(path, "w") as archive, archive.open("inputs/0.npy", "w") as opened:
        np.save(opened, np.array([Path]), allow_pickle=True)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("replay.json", replay)
    with pytest.raises(bnc.ExportError, match="allow_pickle=False"):
        read_bundle(path)


def test_a_bundle_stands_beside_its_file() -> None:
    assert bundle_of(Path("a/m.onnx"), "failed") == Path("a/m.failed.zip")
    assert bundle_of(Path("a/m.failed.onnx"), "failed") == Path("a/m.failed.zip")
    assert bundle_of(Path("a/m.unproven.onnx"), "unproven") == Path("a/m.unproven.zip")
    assert bundle_of(Path("a/m.failed.onnx"), "unproven") == Path("a/m.unproven.zip")
