"""The commands on small factories: what they print, write and return."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import bnconvert as bnc
from tests.cli.conftest import Run
from tests.zoo import Net, build


def test_inspect_prints_the_verdict_and_where_it_is_wanted_the_table(
    run: Run, factory: str
) -> None:
    result = run("inspect", f"{factory}:plain")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("OK  Net: batch normalization, ")
    assert "norm  BatchNorm2d" not in result.out
    assert "norm  BatchNorm2d" in run("inspect", f"{factory}:plain", "-v").out


def test_inspect_fails_on_findings_from_the_wanted_severity_on(run: Run, factory: str) -> None:
    assert run("inspect", f"{factory}:own_forward").code == 1
    assert run("inspect", f"{factory}:own_forward", "--fail-on", "never").code == 0
    assert run("inspect", f"{factory}:without_statistics").code == 0
    assert run("inspect", f"{factory}:without_statistics", "--fail-on", "info").code == 1


def test_inspect_with_inputs_says_what_folds_and_writes_reports(run: Run, factory: str) -> None:
    where = f"{factory}:without_example"
    assert run("inspect", where, "--input", "2,3,8,8", "--report", "r.json").code == 0
    assert json.loads(Path("r.json").read_text())["norms"][0]["reason"] == "into conv (conv2d)"
    run("inspect", where, "--report", "r.html")
    assert Path("r.html").read_text().startswith("<!doctype html>")


def test_convert_prints_the_plan_and_writes_weights_that_load(run: Run, factory: str) -> None:
    rule = "no*=Frozen(affine='trainable')"
    arguments = ["convert", f"{factory}:plain", "--policy", rule, "-o", "c.safetensors"]
    result = run(*arguments, "--report", "plan.json")
    assert result.code == 0
    assert "1 norm: 1 Frozen(affine='trainable')" in result.out
    converted = bnc.convert(Net(), bnc.Frozen(affine="trainable"))
    converted.load_state_dict(load_file("c.safetensors"))
    assert torch.equal(
        converted.get_buffer("norm.running_var"), build("plain")[0].get_buffer("norm.running_var")
    )
    assert json.loads(Path("plan.json").read_text())["norms"][0]["outcome"].startswith("Frozen")
    assert run(*arguments[:-1], "c.pt").code == 0
    converted.load_state_dict(torch.load("c.pt", weights_only=True))


POLICY = """
"norm" = [{norm = "group", groups = 3}, {norm = "frozen"}]
"*" = {norm = "keep"}
"""


def test_prepare_reads_a_policy_file_and_writes_weights_that_load(run: Run, factory: str) -> None:
    Path("policy.toml").write_text(POLICY)
    arguments = ["prepare", f"{factory}:plain", "--policy", "policy.toml", "--weight-decay", "0.1"]
    result = run(*arguments, "-o", "prepared.safetensors", "--report", "plan.json")
    assert result.code == 0
    assert "1 norm: 1 Frozen(affine='frozen')" in result.out
    assert "parameter group 1: 2 parameters (248 numbers) with weight decay 0.1" in result.out
    assert "wrote prepared.safetensors" in result.out
    policy = bnc.Policy.parse(["policy.toml"])
    prepared = bnc.prepare(Net(), policy).model
    prepared.load_state_dict(load_file("prepared.safetensors"))
    assert torch.equal(
        prepared.get_buffer("norm.running_var"), build("plain")[0].get_buffer("norm.running_var")
    )
    assert json.loads(Path("plan.json").read_text())["norms"][0]["outcome"].startswith("Frozen")


def test_prepare_without_writing_shows_the_plan_and_the_momentum(run: Run, factory: str) -> None:
    arguments = ["prepare", f"{factory}:plain", "--policy", "Ghost(2)", "--accumulate", "4"]
    result = run(*arguments, "--dry-run", "-o", "never.safetensors")
    assert result.code == 0
    assert "momentum was adapted to 4 micro-batches per optimizer step" in result.out
    assert not Path("never.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "nothing to do: give -o prepared.safetensors, or --dry-run"),
        (["--dry-run", "--accumulate", "0"], "accumulate is 0; use the number of micro-batches"),
        (["--dry-run", "--policy", "none.toml"], "none.toml: cannot be read"),
        (["--dry-run", "--policy", "norm=Group(3)"], "8 channels do not divide into 3 groups"),
    ],
)
def test_what_prepare_cannot_do_is_a_sentence_and_exit_code_2(
    run: Run, factory: str, options: list[str], said: str
) -> None:
    rest = [] if "--policy" in options else ["--policy", "Ghost(2)"]
    result = run("prepare", f"{factory}:plain", *options, *rest)
    assert result.code == 2
    assert said in result.err


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        ("Group(5)", "norm: 8 channels do not divide into 5 groups; use Group(4) or Keep()"),
        ("nrom=Frozen()", "did you mean 'norm'?"),
        ("Gruop(3)", "did you mean Group()?"),
    ],
)
def test_a_policy_that_does_not_fit_is_a_usage_error(
    run: Run, factory: str, rule: str, hint: str
) -> None:
    result = run("convert", f"{factory}:plain", "--policy", rule, "-o", "c.pt")
    assert result.code == 2
    assert hint in result.err
    assert not Path("c.pt").exists()


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.11 loads it so
def test_fold_writes_a_program_that_computes_the_same(run: Run, factory: str) -> None:
    result = run("fold", f"{factory}:plain", "-o", "folded.pt2", "-v")
    assert result.code == 0
    assert "into conv (conv2d)" in result.out
    module = torch.export.load("folded.pt2").module()
    model, _ = build("plain")
    x = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(module(x), model(x), rtol=1e-4, atol=1e-5)


def test_a_program_is_written_for_any_size_of_some_axes(run: Run, factory: str) -> None:
    model = (f"{factory}:classifier", "--input", "2,3,8,8")
    small = run("fold", *model, "-o", "small.pt2")
    assert small.code == 0
    refused = run("export", "small.pt2", "-o", "m.onnx", "--dynamic", "batch,height,width")
    assert refused.code != 0
    assert "capture the model again with dynamic ones (bnconvert fold --dynamic" in refused.err
    assert not Path("m.onnx").exists()
    axes = ("--dynamic", "batch,height,width")
    assert run("fold", *model, "-o", "any.pt2", *axes).code == 0
    module = torch.export.load("any.pt2").module()
    assert module(torch.randn(3, 3, 11, 17)).shape == (3, 4)
    done = run("export", "any.pt2", "-o", "m.onnx", *axes)
    assert (done.code, Path("m.onnx").exists()) == (0, True)


def test_a_wrong_option_is_a_usage_error(run: Run) -> None:
    assert run("inspect").code == 2
    assert run("inspekt", "x").code == 2


@pytest.mark.slow
def test_zoo_models_are_the_same_in_every_command(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    file = str(tmp_path / "m.onnx")
    model = ["timm:test_efficientnet", "--input", "1,3,64,64"]
    assert run("export", model[0], "-o", file, *model[1:]).code == 0
    assert run("verify", model[0], file, *model[1:]).code == 0
    assert run("inspect", "torchvision:resnet18").code == 0


def test_the_command_runs_as_a_module(factory: str) -> None:
    command = [sys.executable, "-m", "bnconvert", "inspect", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: nothing: is not a MODEL; write file.py:factory")
