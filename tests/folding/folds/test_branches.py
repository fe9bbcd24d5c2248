from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.folding.folds.branches import Branches
from bnconvert.folding.operators.propagation import MapPropagator
from bnconvert.graphs.aten import aten
from bnconvert.graphs.mutable_graph import MutableGraph
from tests.excerpts import Applied, Sketch, capture_of, function
from tests.folding.folds.solo import PLAN, Solos, seasoned, using

IMAGE = (2, 4, 6, 6)
KINDS: dict[str, Callable[[], nn.Module]] = {
    "square": lambda: nn.Conv2d(4, 4, 3, padding=1),
    "other": lambda: nn.Conv2d(4, 4, 3, padding=1, bias=False),
    "point": lambda: nn.Conv2d(4, 4, 1),
    "row": lambda: nn.Conv2d(4, 4, (1, 3), padding=(0, 1)),
    "column": lambda: nn.Conv2d(4, 4, (3, 1), padding=(1, 0)),
    "depthwise": lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4),
    "strided": lambda: nn.Conv2d(4, 4, 3, stride=2, padding=1),
    "strided_point": lambda: nn.Conv2d(4, 4, 1, stride=2),
    "norm": lambda: nn.BatchNorm2d(4),
    "signal": lambda: nn.Conv1d(4, 4, 3, padding=1),
    "other_signal": lambda: nn.Conv1d(4, 4, 1),
    "volume": lambda: nn.Conv3d(4, 4, 3, padding=1),
    "other_volume": lambda: nn.Conv3d(4, 4, 1),
    "features": lambda: nn.Linear(4, 4),
    "more_features": lambda: nn.Linear(4, 4, bias=False),
    "feature_norm": lambda: nn.BatchNorm1d(4),
}


def branched(applied: Callable[..., Any], *shapes: tuple[int, ...]) -> Sketch:
    """Sketch a function of convolutions with windows that are centered alike, and of a norm."""
    return seasoned(lambda: using(applied, KINDS), *(shapes or (IMAGE,)))


def average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1)


MERGED = {
    "two_squares": branched(lambda m, x: m.square(x) + m.other(x)),
    "square_and_point": branched(lambda m, x: m.square(x) + m.point(x)),
    "point_and_square": branched(lambda m, x: m.point(x) + m.square(x)),
    "cross": branched(lambda m, x: m.square(x) + m.row(x) + m.column(x)),
    "difference": branched(lambda m, x: torch.sub(m.point(x), m.square(x), alpha=2)),
    "zero_times": branched(lambda m, x: torch.add(m.square(x), m.point(x), alpha=0)),
    "identity": branched(lambda m, x: x + m.square(x)),
    "less_identity": branched(lambda m, x: m.square(x) - x),
    "depthwise": branched(lambda m, x: m.depthwise(x) + m.square(x)),
    "depthwise_identity": branched(lambda m, x: m.depthwise(x) + x),
    "strided": branched(lambda m, x: m.strided(x) + m.strided_point(x)),
    "average": branched(lambda m, x: average(x) + m.square(x)),
    "scaled": branched(lambda m, x: m.square(x) + x * 0.5),
    "norm": branched(lambda m, x: m.square(x) + m.norm(x)),
    "repvgg": branched(lambda m, x: m.square(x) + m.point(x) + m.norm(x)),
    "averaged_norm": branched(lambda m, x: m.square(x) + m.norm(average(x))),
    "shortcut_twice": branched(lambda m, x: m.square(x) + x + x),
}
FEATURES, TOKENS = (3, 4), (3, 5, 4)
LINEAR = {
    "heads": branched(lambda m, x: m.features(x) - m.more_features(x), FEATURES),
    "heads_of_tokens": branched(lambda m, x: m.features(x) + m.more_features(x), TOKENS),
    "residual": branched(lambda m, x: x + m.features(x), FEATURES),
    "norm_and_features": branched(lambda m, x: m.feature_norm(x) + m.more_features(x), FEATURES),
}
KEPT = {
    "two_inputs": branched(lambda m, x, y: m.square(x) + m.other(y), IMAGE, IMAGE),
    "more_work": branched(lambda m, x: m.depthwise(x) + m.point(x)),
    "row_and_column": branched(lambda m, x: m.row(x) + m.column(x)),
    "strides": branched(lambda m, x: m.strided(x) + F.max_pool2d(x, 2)),
    "activated": branched(lambda m, x: F.relu(m.square(x)) + m.point(x)),
    "doubled": branched(lambda m, x: twice(m.square(x))),
    "no_convolution": branched(lambda m, x: average(x) + x),
    "read_elsewhere": branched(lambda m, x: read_elsewhere(m.square(x), m.other(x))),
    "number": function(lambda x: F.relu(x) + torch.inf, IMAGE),
    "rows": function(lambda x, y: F.relu(x) + y, (2, 4), (2, 4)),
    "six_axes": function(lambda x: x * 2 + x * 0.5, (2, 4, 2, 2, 2, 2)),
    "residual_of_tokens": branched(lambda m, x: x + m.features(x), TOKENS),
    "features_and_channels": branched(lambda m, x: m.features(x) + m.point(x), (2, 4, 4, 4)),
}
solo = Solos(
    {
        **MERGED,
        **LINEAR,
        **KEPT,
        "signal": branched(lambda m, x: m.signal(x) + m.other_signal(x), (2, 4, 6)),
        "volume": branched(lambda m, x: m.volume(x) + m.other_volume(x), (2, 4, 3, 3, 3)),
        "two_maps": branched(lambda m, x: F.silu(m.norm(x) - x * 0.5)),
    }
)


def twice(y: Tensor) -> Tensor:
    return y + y


def read_elsewhere(y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return y + z, y, z


@pytest.mark.parametrize("name", MERGED)
def test_branches_of_one_value_become_one_convolution(name: str) -> None:
    target = aten.sub.Tensor if name in ("difference", "less_identity") else aten.add.Tensor
    assert solo.verdict(Branches(), name, target) == PLAN
    done = solo.done(name, Branches())
    assert done.operators == ["conv2d"]
    assert len(done.module.state_dict()) == 2


@pytest.mark.parametrize(("name", "operator"), [("signal", "conv1d"), ("volume", "conv3d")])
def test_branches_of_signals_and_volumes_become_one_convolution(name: str, operator: str) -> None:
    assert solo.done(name, Branches()).operators == [operator]


@pytest.mark.parametrize("name", LINEAR)
def test_linear_layers_of_one_value_become_one(name: str) -> None:
    done = solo.done(name, Branches())
    assert done.operators == ["linear"]
    assert len(done.module.state_dict()) == 2


def test_a_norm_that_is_a_branch_is_folded_into_the_convolution() -> None:
    assert solo.done("norm", Branches()).outcomes == ["branches: into square (conv2d)"]
    assert solo.done("repvgg", Branches()).outcomes == ["branches: into square (conv2d)"]


@pytest.mark.parametrize("name", KEPT)
def test_everything_else_stays_what_it_is(name: str) -> None:
    assert solo.verdict(Branches(), name, aten.add.Tensor) is None
    before = MutableGraph(solo[name])
    done = solo.done(name, Branches()) if name != "number" else None
    if done is not None:
        assert len(done.operators) == sum(n.op == "call_function" for n in before.fx_graph.nodes)


def test_two_maps_of_one_value_are_one_map() -> None:
    done = solo.done("two_maps", Branches())
    assert done.operators == ["batch_norm", "silu"]
    assert [outcome.fold for outcome in done.calls] == ["branches"]


def test_a_branch_whose_shape_is_read_elsewhere_stays() -> None:
    """Who reads it may stand before the convolution that would be left."""
    module = solo["point_and_square"]
    (total,) = module.graph.find_nodes(op="call_function", target=aten.add.Tensor)
    with module.graph.inserting_after(total.args[0]):
        module.graph.call_function(aten.sym_size.int, (total.args[0], 0))
    assert Branches().decide(MapPropagator(MutableGraph(module)), total) is None


@pytest.mark.parametrize("weight", [2e4, 4e4])
def test_a_kernel_that_overflows_is_not_made(weight: float) -> None:
    branches = Applied(lambda m, x: m.a(x) + m.b(x), a=nn.Conv1d(1, 1, 1), b=nn.Conv1d(1, 1, 1))
    for parameter in branches.parameters():
        nn.init.constant_(parameter, weight)
    module = capture_of(branches.half().eval(), (torch.zeros(2, 1, 3).half(),)).module
    (total,) = module.graph.find_nodes(op="call_function", target=aten.add.Tensor)
    assert (Branches().decide(MapPropagator(MutableGraph(module)), total) is None) == (weight > 3e4)


def test_it_is_about_sums_only() -> None:
    assert solo.verdict(Branches(), "identity", aten.conv2d.default) is None
    assert solo.verdict(Branches(), "norm") is None
