from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.folding.folds.affine import Affine
from bnconvert.folding.folds.split import SplitAffine
from bnconvert.folding.operators.propagation import MapPropagator
from bnconvert.graphs.aten import aten
from bnconvert.graphs.mutable_graph import MutableGraph
from tests.excerpts import Modules, Sketch, capture_of, function
from tests.folding.folds.solo import PLAN, Solos, seasoned, using
from tests.zoo import trained

IMAGE = (2, 4, 6, 6)


def around(applied: Callable[..., Any], sign: int = 1) -> Sketch:
    """Sketch a function of a norm `m.norm`, of layers, and of two inputs."""
    kinds: dict[str, Callable[[], nn.Module]] = {
        "norm": lambda: nn.BatchNorm2d(4),
        "a": lambda: nn.Conv2d(4, 4, 3, padding=1),
        "other": lambda: nn.BatchNorm2d(4),
        "b": lambda: nn.Conv2d(4, 4, 1),
        "c": lambda: nn.Conv2d(4, 4, 1),
    }
    return seasoned(lambda: using(applied, kinds), IMAGE, IMAGE, sign=sign)


def up_and_down(m: Modules, x: Tensor, z: Tensor) -> Tensor:
    """Let only scales pass in front, by the ReLU, and only additions behind, by the sum."""
    y: Tensor = m.c(m.norm(F.relu(m.a(x))) + z)
    return y


def down_and_up(m: Modules, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Let only additions pass in front, by the second reader, and only scales behind."""
    y = m.b(x)
    return m.a(F.relu(m.norm(y))), m.c(y)


def addition_up(m: Modules, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    y = m.b(x)
    return F.silu(m.norm(y)), m.c(y)


PARTS = {
    "multiplication_up": (
        around(lambda m, x, z: F.silu(m.norm(F.relu(m.a(x))))),
        "its multiplication is folded, into a (conv2d); its addition stands: ",
    ),
    "multiplication_down": (
        around(lambda m, x, z: m.a(F.relu(m.norm(x)))),
        "its multiplication is folded, into a (conv2d); its addition stands: ",
    ),
    "addition_down": (
        around(lambda m, x, z: m.c(m.norm(x) + z)),
        "its addition is folded, into c (conv2d); its multiplication stands: ",
    ),
    "addition_up": (
        around(addition_up),
        "its addition is folded, into b (conv2d), c (conv2d); its multiplication stands: ",
    ),
}


def two_norms(m: Modules, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    y = m.b(x)
    return F.silu(m.norm(y)), F.silu(m.other(y))


def maps_around_a_sum(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return F.silu(torch.cat([x * 2 + 1, y * 3 + 1], 1) + (z * 4 + 1))


WHOLE = {"up_and_down": around(up_and_down), "down_and_up": around(down_and_up)}
solo = Solos(
    {
        **{name: sketch for name, (sketch, _) in PARTS.items()},
        **WHOLE,
        "negative": around(lambda m, x, z: m.a(F.relu(m.norm(x))), sign=-1),
        "dead": around(addition_up, sign=-1),
        "alone": around(lambda m, x, z: F.silu(m.norm(x))),
        "two_norms": around(two_norms),
        "around_a_sum": function(maps_around_a_sum, (2, 2, 6, 6), (2, 2, 6, 6), IMAGE),
        "factor": function(lambda x: F.relu(x * 3), IMAGE),
        "summand": function(lambda x: F.relu(x + 3), IMAGE),
    }
)


@pytest.mark.parametrize("name", WHOLE)
def test_multiplication_and_addition_go_different_ways(name: str) -> None:
    assert solo.verdict(SplitAffine(), name) == PLAN
    done = solo.done(name, SplitAffine())
    assert not {"batch_norm", "mul"} & set(done.operators)
    assert done.operators.count("add") == (name == "up_and_down")
    assert [(outcome.outcome, outcome.fold) for outcome in done.calls] == [("folded", "split")]


@pytest.mark.parametrize("name", PARTS)
def test_where_only_one_goes_the_other_stays(name: str) -> None:
    reason = PARTS[name][1]
    assert solo.verdict(SplitAffine(), name) == PLAN
    done = solo.done(name, SplitAffine())
    assert "batch_norm" not in done.operators
    assert ("mul" in done.operators) == ("multiplication stands" in reason)
    (outcome,) = done.calls
    assert (outcome.outcome, outcome.fold) == ("standing", "split")
    assert outcome.reason == reason


def test_nothing_goes_where_nothing_can() -> None:
    assert solo.verdict(SplitAffine(), "negative") is None
    assert solo.verdict(SplitAffine(), "alone") is None
    assert solo.done("alone", SplitAffine()).outcomes == ["standing: "]


def test_no_addition_comes_before_a_multiplication_by_zero() -> None:
    assert solo.verdict(SplitAffine(), "dead") == PLAN
    module = solo["dead"]
    module.get_parameter("norm.weight").data[0] = 0
    graph = MutableGraph(module)
    (norm,) = graph.fx_graph.find_nodes(op="call_function", target=aten.batch_norm.default)
    assert SplitAffine().decide(MapPropagator(graph), norm) is None


def test_a_map_that_only_scales_or_only_shifts_has_no_parts() -> None:
    assert solo.verdict(SplitAffine(), "factor", aten.mul.Tensor) is None
    assert solo.verdict(SplitAffine(), "summand", aten.add.Tensor) is None
    assert solo.verdict(SplitAffine(), "factor", aten.relu.default) is None


def test_what_would_be_left_must_fit_the_dtype() -> None:
    """An addition of t / s before the multiplication overflows where s is small."""
    model = trained(nn.Sequential(nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4)))
    model.get_parameter("0.weight").data.fill_(1e-4)
    model.get_parameter("0.bias").data.fill_(100)
    x = torch.randn(2, 4)
    for dtype, moves in ((torch.float32, True), (torch.float16, False)):
        module = capture_of(model.to(dtype), (x.to(dtype),)).module
        (norm,) = module.graph.find_nodes(op="call_function", target=aten.batch_norm.default)
        assert (
            SplitAffine().decide(MapPropagator(MutableGraph(module)), norm) is not None
        ) == moves


def test_one_of_two_norms_gives_its_addition_to_the_layer_and_the_other_takes_it_back() -> None:
    done = solo.done("two_norms", SplitAffine())
    first, second = (outcome.reason for outcome in done.calls)
    assert first.startswith("its addition is folded, into b (conv2d)")
    assert "gone" not in second


def test_an_addition_does_not_move_from_map_to_map_for_ever() -> None:
    """RAFT's grids: it would go round between the summands."""
    done = solo.done("around_a_sum", Affine(), SplitAffine())
    assert done.operators == ["mul", "mul", "cat", "mul", "add", "add", "silu"]
