"""`export`, and `verify` of what it wrote: files, reports and exit codes."""

import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.conftest import Run
from tests.zoo import build


def test_export_then_verify(run: Run, factory: str) -> None:
    result = run("export", f"{factory}:plain", "-o", "m.onnx", "--report", "r.json")
    assert (result.code, result.err) == (0, "")
    assert "m.onnx agrees with Net" in result.out
    assert f"to compare it again: bnconvert verify {factory}:plain m.onnx" in result.out
    assert json.loads(Path("r.json").read_text())["facts"]["folded"] == 1
    again = run("verify", f"{factory}:plain", "m.onnx")
    assert again.code == 0
    other = run("verify", f"{factory}:two_inputs", "m.onnx")
    assert other.code == 4
    assert "give one tensor for each" in other.err


def test_an_exported_file_has_precise_statistics_and_the_commands_to_prove_it(
    run: Run, factory: str
) -> None:
    images = torch.randn(8, 3, 8, 8) * 2 + 1
    np.savez("images.npz", images=images.numpy(), labels=np.arange(8))
    data = ["--calibrate", "npz:images.npz", "--batch-size", "4"]
    result = run("export", f"{factory}:plain", "-o", "m.onnx", "--report", "r.json", *data)
    assert (result.code, result.err) == (0, "")
    report = json.loads(Path("r.json").read_text())
    assert [row["path"] for row in report["statistics"]] == ["norm"]
    assert all(check["passed"] for check in report["checks"])
    assert run("verify", f"{factory}:plain", "m.onnx").code == 3, "the model's own are others"
    again = result.out.splitlines()[-1].partition("to compare it again: ")[2]
    for command in again.split(" && "):
        assert run(*shlex.split(command)[1:]).code == 0


def test_an_export_with_data_leaves_the_factorys_model_alone(run: Run, factory: str) -> None:
    np.savez("images.npz", images=np.ones((4, 3, 8, 8)) * np.arange(4).reshape(4, 1, 1, 1))
    arguments = [f"{factory}:shared", "-o", "m.onnx"]
    assert run("export", *arguments, "--calibrate", "npz:images.npz").code == 0
    model, kept = sys.modules["models"].SHARED[0], build("plain")[0].state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert run("verify", f"{factory}:shared", "m.onnx").code == 3


def test_data_for_a_model_without_norms_are_refused(run: Run, factory: str) -> None:
    np.savez("images.npz", images=np.ones((4, 3, 8, 8)))
    result = run("export", f"{factory}:without_norm", "--calibrate", "npz:images.npz")
    assert result.code == 4
    assert "the model has no batch norm; there is nothing to recompute" in result.err


def test_data_that_the_model_does_not_take_are_refused_before_the_export(
    run: Run, factory: str
) -> None:
    np.savez("images.npz", images=np.zeros((2, 5, 8, 8)))
    result = run("export", f"{factory}:plain", "-o", "m.onnx", "--calibrate", "npz:images.npz")
    assert result.code == 4
    assert "on a batch of (2, 5, 8, 8) the model raised RuntimeError" in result.err
    assert list(Path().glob("*.onnx")) == []


def test_numbers_that_disagree_are_exit_code_three_with_a_report(run: Run, factory: str) -> None:
    where = f"{factory}:without_statistics"
    result = run("export", where, "-o", "m.onnx", "--report", "r.json")
    assert result.code == 3
    assert "the failing file is kept as m.failed.onnx" in result.err
    checks = json.loads(Path("r.json").read_text())["checks"]
    assert {check["measure"] for check in checks if not check["passed"]} == {"rows"}
    assert run("verify", where, "m.failed.onnx", "--report", "v.json").code == 3
    assert Path("v.json").exists()


def test_what_cannot_be_captured_is_exit_code_four(run: Run, factory: str) -> None:
    result = run("export", f"{factory}:branch_on_data")
    assert result.code == 4
    assert result.err.startswith("error: Guarded: torch.export cannot capture it")
    assert result.err.count("\n") == 1


def test_a_file_takes_raw_inputs_and_is_compared_on_them(run: Run, factory: str) -> None:
    raw = ["--preprocess", "127/128"]
    result = run("export", f"{factory}:plain", "-o", "m.onnx", *raw)
    assert (result.code, result.err) == (0, "")
    assert run("verify", f"{factory}:plain", "m.onnx").code == 3, "it takes other inputs"
    again = result.out.splitlines()[-1].partition("to compare it again: ")[2]
    assert again.endswith("--preprocess 127.0/128.0")
    assert run(*shlex.split(again)[1:]).code == 0
    per_channel = ["--preprocess", "0.4,0.5,0.6/0.2,0.2,0.3"]
    assert run("export", f"{factory}:plain", "-o", "m.onnx", *per_channel).code == 0
    assert run("verify", f"{factory}:plain", "m.onnx", *per_channel).code == 0


def test_several_raw_inputs_are_named(run: Run, factory: str) -> None:
    raw = ["--preprocess", "image=127/128", "--preprocess", "vector=0.5/0.25"]
    result = run("export", f"{factory}:two_inputs", "-o", "m.onnx", *raw)
    assert (result.code, result.err) == (0, "")
    again = result.out.splitlines()[-1].partition("to compare it again: ")[2]
    assert again.endswith("--preprocess image=127.0/128.0 --preprocess vector=0.5/0.25")
    assert run(*shlex.split(again)[1:]).code == 0
    twice = run("export", f"{factory}:two_inputs", "--preprocess", "1/2", "--preprocess", "x=1/2")
    assert (twice.code, "name each input once, as NAME=MEAN/STD" in twice.err) == (2, True)


def test_a_failure_leaves_what_reproduces_it_and_says_how(run: Run, factory: str) -> None:
    model = f"{factory}:without_statistics"
    failed = run("export", model, "-o", "m.onnx")
    assert failed.code == 3
    (again,) = [
        line.partition("to compare again: ")[2]
        for line in failed.err.splitlines()
        if "to compare" in line
    ]
    assert again == f"bnconvert verify {model} m.failed.onnx --input m.failed.zip"
    assert run(*shlex.split(again)[1:]).code == 3
    assert run("export", f"{factory}:plain", "-o", "n.onnx").code == 0
    other = run("verify", model, "n.onnx", "--input", "2,3,8,8")
    assert other.code == 3
    again = other.err.partition("to compare again: ")[2].splitlines()[0]
    assert again == f"bnconvert verify {model} n.onnx --input n.failed.zip"
    assert run(*shlex.split(again)[1:]).code == 3
    assert run("verify", model, "n.onnx", "--input", "m.onnx.zip").code == 4


def test_what_cannot_be_judged_leaves_what_reproduces_it_too(run: Run, factory: str) -> None:
    model = f"{factory}:dead"
    unproven = run("export", model, "-o", "m.onnx")
    assert unproven.code == 5
    again = unproven.err.partition("to compare again: ")[2].splitlines()[0]
    assert again == f"bnconvert verify {model} m.unproven.onnx --input m.unproven.zip"
    assert run(*shlex.split(again)[1:]).code == 5
    assert not Path("m.failed.zip").exists()


@pytest.mark.parametrize("text", ["127", "a/b", "1/2/3", "0.5,/1"])
def test_a_preprocessing_that_is_none_is_refused(run: Run, factory: str, text: str) -> None:
    result = run("export", f"{factory}:plain", "--preprocess", text)
    assert result.code == 2
    assert "write MEAN/STD" in result.err


def test_an_export_is_proven_on_images_of_the_size_of_its_example(run: Run, factory: str) -> None:
    image = pytest.importorskip("PIL.Image")
    for index in range(3):
        Path(f"data/{index % 2}").mkdir(parents=True, exist_ok=True)
        image.new("RGB", (20, 24), (80 * index, 9, 90)).save(f"data/{index % 2}/{index}.png")
    result = run(
        *("export", f"{factory}:plain", "-o", "m.onnx", "-v"),
        *("--calibrate", "images:data/0", "--verify-data", "imagefolder:data"),
    )
    assert result.code == 0
    assert "images:data/0: images are read at 8 x 8 pixels, with ImageNet's mean" in result.err
    assert "your data, 3 samples" in result.out
    again = result.out.splitlines()[-1].partition("to compare it again: ")[2]
    assert "--img-size 8" in again  # the statistics of images of another size are other ones
    for command in again.split(" && "):
        assert run(*shlex.split(command)[1:]).code == 0
