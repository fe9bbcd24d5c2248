"""What the tests of commands share: a file of factories to stand beside, and a way to run."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bnconvert.__main__ import main

FACTORY = """
import torch
from tests.zoo import Net, build, trained

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

def dead():
    model, inputs = build("plain")
    class Dead(torch.nn.Module):
        def forward(self, y):
            return torch.relu(y - 1e9)
    return torch.nn.Sequential(model, Dead()), inputs

def only_norm():
    return torch.nn.BatchNorm2d(3)

def classifier():
    torch.manual_seed(0)
    return trained(torch.nn.Sequential(Net(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()))

SHARED = build("plain")

def shared():
    return SHARED

def without_norm():
    return torch.nn.Conv2d(3, 4, 1), (torch.randn(1, 3, 8, 8),)

def two_inputs():
    return build("two_inputs")

def broken():
    raise RuntimeError("no weights here")

def number():
    return 3
"""


def stand_beside(name: str, code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a file of factories into a folder, which a command is then called in."""
    (folder / f"{name}.py").write_text(code)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a file of factories and stand beside it; return its name."""
    stand_beside("models", FACTORY, tmp_path, monkeypatch)
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
        code = stop.value.code or 0
        assert isinstance(code, int)
        return Result(code, out, err)

    return call
