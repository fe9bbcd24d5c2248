"""Which findings count, what is written and the exit code, with `inspect` on small factories."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_findings_are_selected_and_ignored_by_id_or_family(run: Run, factory: str) -> None:
    model = f"{factory}:own_forward"
    assert run("inspect", model).code == 1
    ignored = run("inspect", model, "--ignore", "BN012")
    assert ignored.code == 0
    assert "note: not shown, by --select and --ignore: BN012" in ignored.out
    assert run("inspect", model, "--select", "bn1,BN2").code == 0
    assert run("inspect", model, "--select", "BN012", "--ignore", "BN0").code == 1
    unknown = run("inspect", model, "--select", "BN102", "--select", "BX1")
    assert (unknown.code, unknown.out) == (2, "")
    assert "BX1: no finding has an id that begins so; `bnconvert rules` lists them" in unknown.err


def test_what_a_baseline_knows_does_not_fail(run: Run, factory: str) -> None:
    model = f"{factory}:own_forward"
    known = ["--baseline", "known.json"]
    missing = run("inspect", model, *known)
    assert missing.code == 2
    assert "make it with --write-baseline" in missing.err
    written = run("inspect", model, *known, "--write-baseline")
    assert written.code == 0
    assert "wrote known.json: " in written.out
    later = run("inspect", model, *known)
    assert later.code == 0
    (note,) = [line for line in later.out.splitlines() if line.startswith("note: not shown")]
    assert note.startswith("note: not shown, by the baseline known.json: ")
    assert "BN012" in note
    assert run("inspect", f"{factory}:without_statistics", *known, "--fail-on", "info").code == 1
    nowhere = run("inspect", model, "--write-baseline")
    assert (nowhere.code, "give --baseline FILE too" in nowhere.err) == (2, True)


def test_the_command_line_wins_over_the_project(run: Run, factory: str) -> None:
    model = f"{factory}:own_forward"
    Path("pyproject.toml").write_text("[tool.bnconvert]\nfail-on = 'never'\nselect = ['BN0']\n")
    assert run("inspect", model).code == 0
    assert run("inspect", model, "--fail-on", "error").code == 1
    assert run("inspect", model, "--fail-on", "error", "--select", "BN1").code == 0
    Path("pyproject.toml").write_text("[tool.bnconvert]\nfail_on = 'never'\n")
    wrong = run("inspect", model)
    assert (wrong.code, "did you mean fail-on?" in wrong.err) == (2, True)


DETECTOR = """
import torch

class Counts(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
        self.body[1].running_mean.uniform_()

    def forward(self, x):
        x = self.body(x)
        return x if x.sum() > 1e9 else -x

def factory():
    return Counts().eval(), (torch.randn(3, 4),)
"""


def test_a_file_that_is_one_traced_forward_can_stop_a_build(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("counts.py").write_text(DETECTOR)
    command = ["export", "counts.py:factory", "-o", "c.onnx"]
    assert run(*command).code == 0
    stopped = run(*command, "--fail-on", "warning", "--report", "r.json")
    assert stopped.code == 1
    assert "wrote c.onnx" in stopped.out
    assert [f["id"] for f in json.loads(Path("r.json").read_text())["findings"]] == ["BN412"]
    assert run(*command, "--fail-on", "warning", "--ignore", "BN412").code == 0
