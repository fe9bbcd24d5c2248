"""Rows for preprocessing in a file, and for what a file says that it was made from."""

from typing import Any

import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.cli.preprocessing import parse_preprocess
from bnconvert.exporting.input_choice import Preprocess, raw_inputs
from bnconvert.exporting.origin import Origin
from bnconvert.graphs.example import Example
from tests.remedies.row import Row
from tests.zoo import IMAGE, Net, build, trained

RGB = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
X = torch.rand(2, 3, 8, 8)
CUBE = torch.rand(2, 3, 3, 8, 8)  # two axes may be the channels


class Call(nn.Module):
    """Takes inputs, and computes in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Any, y: Tensor | None = None) -> None:
        """Take one input or two."""


def raw(preprocess: Preprocess | None, *inputs: Any) -> Any:
    """Decide which inputs are raw, in all the ways that are given."""
    return raw_inputs(Call(), Example(inputs or (X,), {}), preprocess)


def along(axis: int) -> Preprocess:
    """Return mean and std as tensors that broadcast along an axis of five."""
    mean, std = (torch.tensor(part).view(3, *[1] * (4 - axis)) for part in RGB)
    return mean, std


def net() -> nn.Module:
    return build("plain")[0]  # always with the same weights


def origin(model: nn.Module, preprocess: Any = None, **more: Any) -> Origin:
    return Origin.of(model, raw_inputs(model, Example.of(IMAGE), preprocess), **more)


def compare(file: Origin, given: Origin) -> None:
    """Raise how what a file is compared with differs from what it was made from."""
    for difference in file.differences(given):
        raise ValueError(str(difference))


def recomputed() -> nn.Module:
    model = net()
    bnc.recompute_statistics(model, list(IMAGE))
    return model


def words(file: Origin) -> Any:
    """Return the preprocessing that the message names as an option."""
    options = file.preprocess_options()
    assert options is not None
    return parse_preprocess(options[1:])


IMAGES = torch.rand(3, 8, 8), 0.2
ANY, ONE = {"x": ["batch", 3, 8, 8]}, {"x": [1, 3, 8, 8]}
PREPROCESS = (
    Row(
        "exporting/input_choice.py",
        "name one of",
        lambda _: raw({"image": (0.5, 0.2)}),
        lambda _: raw({"x": (0.5, 0.2)}),
    ),
    Row(
        "exporting/input_choice.py",
        "may mean several inputs",
        lambda _: raw((0.5, 0.2), X, X),
        lambda _: (raw({"x": (0.5, 0.2)}, X, X), raw(parse_preprocess(["x=0.5/0.2"]), X, X)),
    ),
    Row(
        "exporting/input_choice.py",
        "normalize it outside the model",
        lambda _: raw((0.5, 0.2), X * 1j),
        lambda _: raw(None, X * 1j),
    ),
    Row(
        "exporting/input_choice.py",
        "give as many of both",
        lambda _: raw(((0.5, 0.4), RGB[1])),
        lambda _: (raw(RGB), raw((0.5, RGB[1]))),
    ),
    Row(
        "exporting/input_choice.py",
        "the deviations must be",
        lambda _: raw((0.5, 0.0)),
        lambda _: raw((0.5, 0.25)),
    ),
    Row(
        "exporting/input_choice.py",
        "names {} twice",
        lambda _: raw({"x.0": (0.5, 0.2), "x_0": (0.5, 0.2)}, [X, X]),
        lambda _: raw({"x.0": (0.5, 0.2)}, [X, X]),
    ),
    Row(
        "exporting/input_choice.py",
        "is not (mean, std)",
        lambda _: raw({"x": ("a", 0.2)}),  # type: ignore[dict-item]
        lambda _: (raw({"x": (0.5, 0.2)}), raw({"x": RGB})),
    ),
    Row(
        "exporting/input_choice.py",
        "and any may be the channels",
        lambda _: raw(RGB, CUBE),
        lambda _: (raw(along(1), CUBE), raw(RGB, torch.cat([CUBE, CUBE], 2))),
    ),
    Row(
        "exporting/input_choice.py",
        "does not broadcast to",
        lambda _: raw(along(1)),
        lambda _: (raw((0.5, 0.2)), raw(RGB)),
    ),
    Row(
        "exporting/input_choice.py",
        "has no axis of channels with",
        lambda _: raw(RGB, X[:, :1]),
        lambda _: (raw(((0.5,), (0.2,)), X[:, :1]), raw((0.5, 0.2)), raw(along(2))),
    ),
    Row(
        "exporting/origin.py",
        "was made from other weights",
        lambda _: compare(origin(net()), origin(trained(Net(), seed=7))),
        lambda _: compare(origin(net()), origin(net())),
    ),
    Row(
        "exporting/origin.py",
        "convert the model with the same policy",
        lambda _: compare(origin(bnc.convert(net(), bnc.Frozen())), origin(net())),
        lambda _: compare(*[origin(bnc.convert(net(), bnc.Frozen())) for _ in range(2)]),
    ),
    Row(
        "exporting/origin.py",
        "recompute the model's over the same data first",
        lambda _: compare(origin(recomputed(), calibrated=True), origin(net())),
        lambda _: compare(origin(recomputed(), calibrated=True), origin(recomputed())),
    ),
    Row(
        "exporting/origin.py",
        "with other running statistics",
        lambda _: compare(origin(net()), origin(recomputed())),
        lambda _: compare(origin(net()), origin(net())),
    ),
    Row(
        "exporting/origin.py",
        "undo what changed the file",
        lambda _: compare(origin(net(), dynamic_axes=ANY), origin(net(), dynamic_axes=ONE)),
        lambda _: compare(*[origin(net(), dynamic_axes=ANY) for _ in range(2)]),
    ),
    Row(
        "exporting/origin.py",
        "leave preprocess (--preprocess) out",
        lambda _: compare(origin(net()), origin(net(), RGB)),
        lambda _: compare(origin(net()), origin(net())),
    ),
    Row(
        "exporting/origin.py",
        "{}; give raw inputs and {}",
        lambda _: compare(origin(net(), RGB), origin(net())),
        lambda _: compare(origin(net(), RGB), origin(net(), words(origin(net(), RGB)))),
    ),
    Row(
        "exporting/origin.py",
        "give the preprocess that it was exported with",
        lambda _: compare(origin(net(), IMAGES), origin(net())),
        lambda _: compare(origin(net(), IMAGES), origin(net(), IMAGES)),
    ),
)
