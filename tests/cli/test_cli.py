"""The commands on small factories: what they print, write and return."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import bnconvert as bnc
from bnconvert.__main__ import main
from tests.zoo import Net, build

FACTORY = """
import torch
from tests.zoo import build

def plain():
    return build("plain")

def without_example():
    return build("plain")[0]

def without_statistics():
    return build("without_statistics")

def own_forward():
    return build("own_forward")

def branch_on_data():
    class Guarded(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x
    return Guarded(), (torch.randn(2, 3),)

def two_inputs():
    return build("two_inputs")

def broken():
    raise RuntimeError("no weights here")

def number():
    return 3
"""


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a file of factories and stand beside it; return its name."""
    (tmp_path / "models.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return "models.py"


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        out, err = capsys.readouterr()
        return Result(stop.value.code or 0, out, err)

    return call


def test_inspect_prints_the_table_and_nothing_else(run: Run, factory: str) -> None:
    result = run("inspect", f"{factory}:plain")
    assert (result.code, result.err) == (0, "")
    assert "norm  BatchNorm2d" in result.out
    assert "no findings" in result.out


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
    assert "1 norms: 1 Frozen(affine='trainable')" in result.out
    converted = bnc.convert(Net(), bnc.Frozen(affine="trainable"))
    converted.load_state_dict(load_file("c.safetensors"))
    assert torch.equal(converted.norm.running_var, build("plain")[0].norm.running_var)
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
    assert "1 norms: 1 Frozen(affine='frozen')" in result.out
    assert "2 parameters (248 numbers) with weight decay 0.1" in result.out
    assert "wrote prepared.safetensors" in result.out
    policy = bnc.Policy.parse(["policy.toml"])
    prepared = bnc.prepare(Net(), policy).model
    prepared.load_state_dict(load_file("prepared.safetensors"))
    assert torch.equal(prepared.norm.running_var, build("plain")[0].norm.running_var)
    assert json.loads(Path("plan.json").read_text())["norms"][0]["outcome"].startswith("Frozen")


def test_prepare_without_writing_shows_the_plan_and_the_momentum(run: Run, factory: str) -> None:
    arguments = ["prepare", f"{factory}:plain", "--policy", "Ghost(2)", "--accumulate", "4"]
    result = run(*arguments, "--dry-run", "-o", "never.safetensors")
    assert result.code == 0
    assert "momentum is set for 4 micro-batches per optimizer step" in result.out
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


def test_fold_writes_a_program_that_computes_the_same(run: Run, factory: str) -> None:
    result = run("fold", f"{factory}:plain", "-o", "folded.pt2")
    assert result.code == 0
    assert "into conv (conv2d)" in result.out
    module = torch.export.load("folded.pt2").module()
    model, _ = build("plain")
    x = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(module(x), model(x), rtol=1e-4, atol=1e-5)


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


def test_a_wrong_option_is_a_usage_error(run: Run) -> None:
    assert run("inspect").code == 2
    assert run("inspekt", "x").code == 2


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
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("error: nothing: is no MODEL; write file.py:factory")
