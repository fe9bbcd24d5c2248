from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.folding.folds.through import Through
from bnconvert.graphs.aten import aten
from tests.excerpts import Sketch
from tests.folding.folds.solo import PLAN, Solos, seasoned, using

IMAGE = (2, 3, 6, 6)


def joined(
    applied: Callable[..., Any],
    sign: int = 0,
    norm: type[nn.Module] = nn.BatchNorm2d,
    size: int = 4,
) -> Sketch:
    """Sketch a norm of a function of two convolutions `m.a` and `m.b`."""
    kinds = dict.fromkeys("ab", lambda: nn.Conv2d(3, 4, 3, padding=1))
    return seasoned(lambda: nn.Sequential(using(applied, kinds), norm(size)), IMAGE, sign=sign)


PASSING = {
    "pooled": joined(lambda m, x: F.avg_pool2d(m.a(x), 2)),
    "summed": joined(lambda m, x: m.a(x) + m.b(x)),
    "concatenated": joined(lambda m, x: torch.cat([m.a(x), m.b(x)], 1), size=8),
    "flattened": joined(lambda m, x: m.a(x).mean((2, 3)), norm=nn.BatchNorm1d),
    "maximum": joined(lambda m, x: F.max_pool2d(m.a(x), 2), sign=1),
    "nested": joined(lambda m, x: F.avg_pool2d(m.a(x), 2) + F.avg_pool2d(m.b(x), 2)),
    "straight": joined(lambda m, x: m.a(x)),
    "constant": joined(lambda m, x: F.avg_pool2d(m.a(x) * 2, 2)),
}
STANDING = {
    "negative_maximum": (
        joined(lambda m, x: F.max_pool2d(m.a(x), 2), sign=-1),
        "max pooling: only positive scales pass it",
    ),
    "activated": (
        joined(lambda m, x: F.relu(m.a(x)), sign=1),
        "an activation (relu): an addition does not pass it",
    ),
    "half_made": (
        joined(lambda m, x: torch.cat([m.a(x), F.silu(x)], 1), size=7),
        "its input is made by 0 (silu), not by a convolution or a linear layer",
    ),
    "summed_twice": (
        joined(lambda m, x: twice(m.a(x))),
        "it adds a value to itself",
    ),
    "input": (
        joined(lambda m, x: x, size=3),
        "its input is made by the model's input x, not by a convolution or a linear layer",
    ),
}
solo = Solos({**PASSING, **{name: sketch for name, (sketch, _) in STANDING.items()}})


def twice(y: Tensor) -> Tensor:
    return y + y


@pytest.mark.parametrize("name", PASSING)
def test_a_norm_moves_up_to_all_layers_that_made_its_input(name: str) -> None:
    assert solo.verdict(Through(), name) == PLAN
    done = solo.done(name, Through())
    assert "batch_norm" not in done.operators
    assert [outcome.fold for outcome in done.calls] == ["through"]


def test_it_is_known_into_which_layers() -> None:
    (outcome,) = solo.done("nested", Through()).outcomes
    assert outcome == "through: into 0.a (conv2d), 0.b (conv2d)"


@pytest.mark.parametrize("name", STANDING)
def test_all_or_nothing_moves(name: str) -> None:
    reason = STANDING[name][1].replace("input x", "input inputs_x0_2x3x6x6")
    before = solo[name].state_dict()
    assert solo.verdict(Through(), name) == reason
    done = solo.done(name, Through())
    assert done.outcomes == [f"standing: {reason}"]
    assert all(torch.equal(value, before[key]) for key, value in done.module.state_dict().items())


def test_it_is_not_about_what_is_no_map() -> None:
    assert solo.verdict(Through(), "pooled", aten.avg_pool2d.default) is None
    assert solo.verdict(Through(), "summed", aten.add.Tensor) is None
