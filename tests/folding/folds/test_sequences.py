from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.folding.folds.sequences import Sequences
from bnconvert.folding.operators.propagation import MapPropagator
from bnconvert.graphs.aten import aten
from bnconvert.graphs.mutable_graph import MutableGraph
from tests.excerpts import Applied, Modules, Sketch, capture_of, model
from tests.folding.folds.solo import PLAN, Solos

IMAGE, SERIES = (2, 4, 7, 6), (2, 4, 7)


def row(layers: Callable[[], Sequence[nn.Module]], shape: tuple[int, ...] = IMAGE) -> Sketch:
    return model(lambda: nn.Sequential(*layers()), shape)


def read_elsewhere(m: Modules, x: Tensor) -> tuple[Tensor, Tensor]:
    y = m.a(x)
    return m.b(y), y


def biased(*shape: int) -> Sketch:
    """Sketch two linear layers on five tokens, of which the first has a bias of that shape."""

    def twice(m: Modules, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, m.first, m.bias), m.second, m.last)

    weights = {"first": (3, 6), "bias": shape, "second": (2, 3), "last": (1,)}
    return model(
        lambda: Applied(twice, **{k: nn.Parameter(torch.randn(s)) for k, s in weights.items()}),
        (2, 5, 6),
    )


JOINED = {
    "two_points": row(lambda: (nn.Conv2d(4, 6, 1), nn.Conv2d(6, 5, 1))),
    "point_then_square": row(
        lambda: (nn.Conv2d(4, 6, 1), nn.Conv2d(6, 5, 3, stride=2, dilation=2))
    ),
    "square_then_point": row(lambda: (nn.Conv2d(4, 6, 3, 2, 1), nn.Conv2d(6, 5, 1))),
    "point_then_padded": row(
        lambda: (nn.Conv2d(4, 6, 1, bias=False), nn.Conv2d(6, 5, 3, padding=1))
    ),
    "series": row(lambda: (nn.Conv1d(4, 6, 1), nn.Conv1d(6, 5, 3)), SERIES),
    "wide": row(lambda: (nn.Conv2d(4, 9, 3), nn.Conv2d(9, 3, 1, bias=False))),
}
LINEAR = {
    "rows": row(lambda: (nn.Linear(6, 3, bias=False), nn.Linear(3, 2)), (5, 6)),
    "tokens": row(lambda: (nn.Linear(6, 9), nn.Linear(9, 2)), (2, 5, 6)),
    "one_bias_for_all": biased(1),
    "bias_without_axes": biased(),
    "bias_of_two_axes": biased(1, 3),
}
LINEAR_KEPT = {
    "expanding": row(lambda: (nn.Linear(9, 1), nn.Linear(1, 9)), (5, 9)),
    "channels_then_features": row(lambda: (nn.Conv2d(4, 6, 1), nn.Linear(6, 5))),
    "features_then_channels": row(lambda: (nn.Linear(6, 5), nn.Conv2d(4, 6, 1))),
}
KEPT = {
    "biased_then_padded": row(lambda: (nn.Conv2d(4, 6, 1), nn.Conv2d(6, 5, 3, padding=1))),
    "two_squares": row(lambda: (nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))),
    "grouped": row(lambda: (nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 1))),
    "depthwise": row(lambda: (nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, groups=4))),
    "strided_point": row(lambda: (nn.Conv2d(4, 6, 3), nn.Conv2d(6, 5, 1, stride=2))),
    "bottleneck": row(lambda: (nn.Conv2d(4, 1, 1), nn.Conv2d(1, 8, 3))),
    "activated": row(lambda: (nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 5, 1))),
    "read_elsewhere": model(
        lambda: Applied(read_elsewhere, a=nn.Conv2d(4, 4, 1), b=nn.Conv2d(4, 4, 1)), IMAGE
    ),
}
solo = Solos(
    {
        **JOINED,
        **LINEAR,
        **LINEAR_KEPT,
        **KEPT,
        "bias_of_tokens": biased(5, 3),
        "three": row(lambda: (nn.Conv2d(4, 5, 1), nn.Conv2d(5, 6, 3), nn.Conv2d(6, 4, 1))),
    }
)


@pytest.mark.parametrize("name", LINEAR)
def test_two_linear_layers_become_one(name: str) -> None:
    assert solo.done(name, Sequences()).operators == ["linear"]


@pytest.mark.parametrize("name", [*LINEAR_KEPT, "bias_of_tokens"])
def test_a_linear_layer_and_another_stay_where_the_work_or_the_axes_differ(name: str) -> None:
    assert len(solo.done(name, Sequences()).operators) == 2


@pytest.mark.parametrize("name", JOINED)
def test_two_convolutions_in_a_row_become_one(name: str) -> None:
    target = aten.conv1d.default if name == "series" else aten.conv2d.default
    assert solo.verdict(Sequences(), name, target, at=0) is None
    assert solo.verdict(Sequences(), name, target, at=1) == PLAN
    done = solo.done(name, Sequences())
    assert len(done.operators) == 1
    assert set(done.module.state_dict()) == {"1.weight", "1.bias"}


def test_so_do_three() -> None:
    assert solo.done("three", Sequences()).operators == ["conv2d"]


@pytest.mark.parametrize("name", KEPT)
def test_everything_else_stays_what_it_is(name: str) -> None:
    assert solo.verdict(Sequences(), name, aten.conv2d.default, at=1) is None
    assert solo.done(name, Sequences()).operators.count("conv2d") == 2


def test_what_would_cost_more_is_not_multiplied_out(monkeypatch: pytest.MonkeyPatch) -> None:
    place = "bnconvert.folding.folds.sequences.composed"
    monkeypatch.setattr(place, lambda *_: pytest.fail("multiplied out"))
    assert solo.verdict(Sequences(), "bottleneck", aten.conv2d.default, at=1) is None


def test_a_convolution_whose_shape_is_read_elsewhere_stays() -> None:
    module = solo["two_points"]
    first, second = module.graph.find_nodes(op="call_function", target=aten.conv2d.default)
    with module.graph.inserting_after(first):
        module.graph.call_function(aten.sym_size.int, (first, 2))
    assert Sequences().decide(MapPropagator(MutableGraph(module)), second) is None


@pytest.mark.parametrize("what", ["weight", "bias"])
def test_a_weight_or_bias_that_overflows_is_not_made(what: str) -> None:
    layers = nn.Sequential(nn.Conv1d(2, 3, 1), nn.Conv1d(3, 2, 1)).half().eval()
    for first, second, moves in ((1.0, 1.0, True), (1e3, 1e3, False)):
        for parameter in layers.parameters():
            nn.init.constant_(parameter, 1.0)
        nn.init.constant_(layers.get_parameter(f"0.{what}"), first)
        nn.init.constant_(layers.get_parameter("1.weight"), second)
        module = capture_of(layers, (torch.zeros(2, 2, 5).half(),)).module
        _, node = module.graph.find_nodes(op="call_function", target=aten.conv1d.default)
        assert (Sequences().decide(MapPropagator(MutableGraph(module)), node) is not None) == moves


def test_it_is_about_convolutions_only() -> None:
    assert solo.verdict(Sequences(), "activated", aten.relu.default) is None
