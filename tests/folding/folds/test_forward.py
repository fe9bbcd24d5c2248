from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bnconvert.folding.folds.forward import Forward
from bnconvert.graphs.aten import aten
from tests.excerpts import Sketch
from tests.folding.folds.solo import PLAN, Solos, seasoned, using

IMAGE = (2, 4, 6, 6)


def read(applied: Callable[..., Any], sign: int = 0, shape: tuple[int, ...] = IMAGE) -> Sketch:
    """Sketch a function of what a norm makes, with layers to read it."""
    kinds: dict[str, Callable[[], nn.Module]] = {
        "a": lambda: nn.Conv2d(4, 3, 3),
        "b": lambda: nn.Conv2d(4, 3, 3, bias=False),
        "padded": lambda: nn.Conv2d(4, 3, 3, padding=1),
        "head": lambda: nn.Linear(4, 3),
        "transposed": lambda: nn.ConvTranspose2d(4, 3, 3),
    }
    norm = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    return seasoned(lambda: nn.Sequential(norm(4), using(applied, kinds)), shape, sign=sign)


PASSING = {
    "one": read(lambda m, y: m.a(y)),
    "two": read(lambda m, y: m.a(y) + m.b(y)),
    "linear": read(lambda m, y: m.head(y), shape=(2, 4)),
    "pooled": read(lambda m, y: m.head(y.mean((2, 3)))),
    "reflected": read(lambda m, y: m.a(F.pad(y, (1, 1, 1, 1), mode="reflect"))),
    "maximum": read(lambda m, y: m.a(F.max_pool2d(y, 2)), sign=1),
    "constant": read(lambda m, y: m.a(y * 2 + 1)),
}
STANDING = {
    "zero_padding": (
        read(lambda m, y: m.padded(y)),
        "1.padded (conv2d) reads it: zero padding: at the border its addition would be left out",
    ),
    "one_pads": (
        read(lambda m, y: (m.a(y), m.padded(y))),
        "1.padded (conv2d) reads it: zero padding: at the border its addition would be left out",
    ),
    "transposed": (
        read(lambda m, y: m.transposed(y)),
        "1.transposed (conv_transpose2d) reads it: a transposed convolution: its windows overlap "
        "unequally",
    ),
    "activated": (
        read(lambda m, y: m.a(F.relu(y)), sign=1),
        "an activation (relu): an addition does not pass it",
    ),
    "returned": (read(lambda m, y: y), "the model's output reads it"),
    "read_by_another": (read(lambda m, y: (m.a(y), F.silu(y))), "1 (silu) reads it"),
}
solo = Solos({**PASSING, **{name: sketch for name, (sketch, _) in STANDING.items()}})


@pytest.mark.parametrize("name", PASSING)
def test_a_norm_moves_down_to_all_layers_that_read_it(name: str) -> None:
    assert solo.verdict(Forward(), name) == PLAN
    done = solo.done(name, Forward())
    assert "batch_norm" not in done.operators
    assert [outcome.fold for outcome in done.calls] == ["forward"]


def test_it_is_known_into_which_layers() -> None:
    assert solo.done("two", Forward()).outcomes == ["forward: into 1.a (conv2d), 1.b (conv2d)"]


@pytest.mark.parametrize("name", STANDING)
def test_all_or_nothing_moves(name: str) -> None:
    reason = STANDING[name][1]
    before = solo[name].state_dict()
    assert solo.verdict(Forward(), name) == reason
    done = solo.done(name, Forward())
    assert done.outcomes == [f"standing: downstream: {reason}"]
    assert all(torch.equal(value, before[key]) for key, value in done.module.state_dict().items())


def test_it_is_not_about_what_is_no_map() -> None:
    assert solo.verdict(Forward(), "maximum", aten.max_pool2d.default) is None
    assert solo.verdict(Forward(), "one", aten.conv2d.default) is None
