"""Rows for the values of a command line: models, shapes, places, numbers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import Tensor, nn

from bnconvert.cli.example_inputs import example_inputs
from bnconvert.cli.preprocessing import parse_preprocess
from bnconvert.cli.values import model_source, output_path, plot_path, shape_of
from tests.remedies.command_line import model
from tests.remedies.row import Row


class Sum(nn.Module):
    """Takes two inputs by name."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def given(*texts: str) -> Any:
    """Make inputs as they are given on the command line, and run a model on them."""
    inputs: Any = example_inputs(Sum(), texts)
    return Sum()(**inputs) if isinstance(inputs, dict) else Sum()(*inputs, *inputs)


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Let a folder be one where this user may not write."""
    allowed = os.access
    with patch("os.access", lambda path, mode: Path(path) != place and allowed(path, mode)):
        yield


ARGUMENTS = (
    Row(
        "cli/values.py",
        "is not a MODEL",
        lambda _: model_source("resnet18"),
        lambda folder: (
            model(folder, "model"),
            model_source("timm:resnet18"),
            model_source("torchvision:resnet18"),
        ),
    ),
    Row(
        "cli/values.py",
        "is not a shape",
        lambda _: shape_of("3xN"),
        lambda _: (
            given("1,3,224,224"),
            given("x:1,3,224,224", "y:1,3,224,224"),
            given("x:1,16:int64", "y:1,16:int64"),
        ),
    ),
    Row(
        "cli/values.py",
        "is not a size",
        lambda _: shape_of("2,3,-1,-1"),
        lambda _: given("2,3,1,1"),
    ),
    Row(
        "cli/values.py",
        "give a smaller example",
        lambda _: shape_of("100000,100000,100000"),
        lambda _: given("1,1,1"),
    ),
    Row(
        "cli/values.py",
        "is a device",
        lambda _: output_path(Path(os.devnull)),
        lambda folder: output_path(folder / "file"),
    ),
    Row(
        "cli/values.py",
        "is not a format",
        lambda folder: plot_path(folder / "a.xyz"),
        lambda folder: plot_path(folder / "a.png"),
    ),
    Row(
        "cli/example_inputs.py",
        "there is no dtype",
        lambda _: given("1,16:int65"),
        lambda _: [given("1,3,224,224"), given("1,16:int64"), given("x:1,2", "y:1,2")],
    ),
    Row(
        "cli/example_inputs.py",
        "name one of these",
        lambda _: given("x:1,2", "z:1,2"),
        lambda _: given("x:1,2", "y:1,2"),
    ),
    Row(
        "cli/example_inputs.py",
        "is given twice",
        lambda _: given("x:1,2", "x:1,2"),
        lambda _: given("x:1,2", "y:1,2"),
    ),
    Row(
        "cli/example_inputs.py",
        "give another shape or dtype",
        lambda _: given("1,2:quint8"),
        lambda _: given("1,2:uint8"),
    ),
    Row(
        "cli/preprocessing.py",
        "name each input once",
        lambda _: parse_preprocess(["127/128", "x=0/1"]),
        lambda _: parse_preprocess(["y=127/128", "x=0/1"]),
    ),
    Row(
        "cli/preprocessing.py",
        "{}: {}",
        lambda _: parse_preprocess(["127"]),
        lambda _: [
            parse_preprocess([text])
            for text in ("127/128", "0.5,0.5,0.5/0.25,0.25,0.25", "x=0.5,0.4/0.2")
        ],
    ),
)
