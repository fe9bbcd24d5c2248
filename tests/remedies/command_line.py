"""Rows for what the command line reads: models, weights, inputs, data, images, scores."""

import contextlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bnconvert.cli import convert
from bnconvert.cli.dynamic_axes import dynamic_axes, dynamic_shapes
from bnconvert.cli.models.model_source import load_model, require_example
from bnconvert.cli.user_code import load_object, without_exits
from bnconvert.diagnosis.catalogue import explain
from tests.remedies.row import Row

CODE = """
import itertools
import sys
import torch
from torch import nn

class Exits(nn.Module):
    def forward(self, x): sys.exit(0)

class Raises(nn.Module):
    def forward(self, x): raise RuntimeError("no weights")

def exits(): return nn.Sequential(nn.BatchNorm2d(3), Exits()), (torch.ones(1, 3, 4, 4),)
def raises(): return nn.Sequential(nn.BatchNorm2d(3), Raises()), (torch.ones(1, 3, 4, 4),)
def endless(): return itertools.cycle(loader())
def hundred(): return itertools.islice(itertools.cycle(loader()), 100)
def model(): return nn.Conv2d(3, 2, 1)
def with_inputs(): return nn.Conv2d(3, 2, 1), (torch.ones(1, 3, 4, 4),)
def with_words(): return nn.Conv2d(3, 2, 1), "1,3,4,4"
def classes(num_classes=2, pretrained=False): return nn.Conv2d(3, num_classes, 1)
made = nn.Conv2d(3, 2, 1)
def needs(arguments): return nn.Conv2d(3, 2, 1)
def number(): return 3
constant = 3
def loader(): return [torch.ones(2, 3, 4, 4)]
def tensor(): return torch.ones(2, 3, 4, 4)
def wide(): return [torch.ones(2, 5, 4, 4)]
def loss(output, batch): return output.square().mean()
def words(output, batch): return "good"
def broken():
    yield torch.ones(2, 3, 4, 4)
    raise OSError("the disk is gone")
"""


def code(folder: Path, name: str) -> str:
    """Return how a function in a file of the user is named."""
    path = folder / f"user_{folder.name}.py"
    path.write_text(CODE)
    return f"{path}:{name}"


def model(folder: Path, name: str, *inputs: str, weights: str | None = None, **more: Any) -> Any:
    path = None if weights is None else folder / weights
    return load_model(code(folder, name), path, inputs or None, **more)


def file(folder: Path, text: str) -> str:
    path = folder / "module.py"
    path.write_text(text)
    return str(path)


def in_folder(folder: Path, name: str, text: str) -> None:
    """Import a module by its name from the folder."""
    (folder / f"{name}.py").write_text(text)
    before = [*sys.path]
    with contextlib.chdir(folder):
        load_object(f"{name}:model")
    sys.path[:] = before


def converting(folder: Path, name: str) -> None:
    nothing: dict[str, Any] = {"weights": None, "model_kwargs": None}
    made_so = {"ema": False, "pretrained": False, "device": None}
    convert.command(model=code(folder, name), policy=["Keep()"], **nothing, **made_so)


def made(folder: Path) -> Path:
    """Make a folder."""
    folder.mkdir()
    return folder


def axes(*texts: str) -> None:
    dynamic_shapes(nn.Conv2d(3, 2, 1), (torch.ones(1, 3, 4, 4),), texts)


COMMAND_LINE = (
    Row(
        "cli/dynamic_axes.py",
        "names no axis",
        lambda folder: dynamic_axes(["heigth"]),
        lambda folder: dynamic_axes(["batch,height,width", "2=height", "ids:1=tokens"]),
    ),
    Row(
        "cli/dynamic_axes.py",
        "no input has such an axis",
        lambda folder: axes("depth"),
        lambda folder: axes("input:1=depth"),
    ),
    Row(
        "diagnosis/catalogue/__init__.py",
        "no finding has this id",
        lambda folder: explain("BN2002"),
        lambda folder: explain("BN202"),
    ),
    Row(
        "cli/models/model_source.py",
        "no example inputs",
        lambda folder: require_example(model(folder, "model")[1]),
        lambda folder: (
            require_example(model(folder, "model", "1,3,224,224")[1]),
            require_example(model(folder, "with_inputs")[1]),
        ),
    ),
    Row(
        "cli/models/model_source.py",
        "name a torch.nn.Module, or a function",
        lambda folder: model(folder, "constant"),
        lambda folder: model(folder, "model"),
    ),
    Row(
        "cli/user_code.py",
        "{}: {}; {}",
        lambda folder: model(folder, "needs"),
        lambda folder: model(folder, "model"),
    ),
    Row(
        "cli/user_code.py",
        "raise an exception there",
        lambda folder: without_exits(converting)(folder, "exits"),
        lambda folder: without_exits(converting)(folder, "raises"),
    ),
    Row(
        "cli/models/model_source.py",
        "return a torch.nn.Module",
        lambda folder: model(folder, "number"),
        lambda folder: (model(folder, "model"), model(folder, "with_inputs")),
    ),
    Row(
        "cli/models/model_source.py",
        "as example inputs",
        lambda folder: model(folder, "with_words"),
        lambda folder: model(folder, "with_inputs"),
    ),
    Row(
        "cli/user_code.py",
        "has no function",
        lambda folder: load_object(code(folder, "missing")),
        lambda folder: load_object(code(folder, "model")),
    ),
    Row(
        "cli/user_code.py",
        "give a path from here",
        lambda folder: load_object(str(folder / "none.py:model")),
        lambda folder: load_object(code(folder, "model")),
    ),
    Row(
        "cli/user_code.py",
        "give file.py:factory",
        lambda _: load_object("no_such_package:model"),
        lambda folder: load_object(code(folder, "model")),
    ),
    Row(
        "cli/user_code.py",
        "{}: {}; {}",
        lambda folder: in_folder(folder, "broken_one", "1 / 0"),
        lambda folder: in_folder(folder, "mended_one", "model = 1"),
    ),
    Row(
        "cli/user_code.py",
        "{}: {}; {}",
        lambda folder: load_object(f"{file(folder, '1 / 0')}:model"),
        lambda folder: load_object(f"{file(folder, 'model = 1')}:model"),
    ),
)
