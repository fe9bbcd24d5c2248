import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.errors import Refusal
from bnconvert.folding.operators.affine import AffineReading, read_affine
from bnconvert.graphs.aten import aten
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.channel_map import ChannelMap
from tests.excerpts import Applied, Sketch, function, model
from tests.folding.operators.passage import ANY, PASSES, SCALE, SHIFT, Passages
from tests.zoo import trained, without_bias

ZEROS = torch.zeros(4).double()
IMAGE, SERIES, ROWS, VOLUME = (2, 4, 3, 2), (2, 4, 3), (2, 4), (2, 4, 3, 2, 2)


def norm(build: Callable[[], nn.Module], shape: tuple[int, ...] = IMAGE) -> Sketch:
    return model(lambda: trained(build()), shape)


def with_constant(applied: Callable[..., Tensor], *shape: int) -> Sketch:
    return model(lambda: Applied(applied, k=nn.Parameter(torch.randn(shape))), IMAGE)


NORMS = {
    "rows": norm(lambda: nn.BatchNorm1d(4), ROWS),
    "series": norm(lambda: nn.BatchNorm1d(4), SERIES),
    "image": norm(lambda: nn.BatchNorm2d(4, eps=1e-2)),
    "volume": norm(lambda: nn.BatchNorm3d(4), VOLUME),
    "not_affine": norm(lambda: nn.BatchNorm2d(4, affine=False)),
    "no_bias": norm(lambda: without_bias(nn.BatchNorm2d(4))),
    "instance": norm(lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
    "instance_series": norm(lambda: nn.InstanceNorm1d(4, track_running_stats=True), SERIES),
    "instance_volume": norm(
        lambda: nn.InstanceNorm3d(4, affine=True, track_running_stats=True), VOLUME
    ),
}
ARITHMETIC = {
    "number_added": function(lambda x: x + 2, IMAGE),
    "multiple_added": function(lambda x: torch.add(x, 2, alpha=3), IMAGE),
    "number_subtracted": function(lambda x: x - 0.5, IMAGE),
    "multiple_subtracted": function(lambda x: torch.sub(x, 2, alpha=3), IMAGE),
    "number_multiplied": function(lambda x: 3 * x, IMAGE),
    "divided": function(lambda x: x / 4, IMAGE),
    "negated": function(lambda x: -x, IMAGE),
    "scalars": function(
        lambda x: aten.sub.Scalar(aten.div.Scalar(aten.add.Scalar(x, 2, 3), 2), 1, 5), IMAGE
    ),
    "constant_added": with_constant(lambda m, x: torch.add(x, m.k, alpha=2), 4, 1, 1),
    "added_to_constant": with_constant(lambda m, x: torch.add(m.k, x, alpha=2), 4, 1, 1),
    "constant_subtracted": with_constant(lambda m, x: x - m.k, 1, 4, 3, 2),
    "subtracted_from_constant": with_constant(lambda m, x: torch.sub(m.k, x, alpha=3), 4, 1, 1),
    "constant_multiplied": with_constant(lambda m, x: m.k * x, 3, 1),
    "divided_by_constant": with_constant(lambda m, x: x / m.k, 4, 1, 1),
    "scalar_constant": with_constant(lambda m, x: x * m.k),
}
NO_MAPS = {
    "constant_divided": with_constant(lambda m, x: m.k / x, 4, 1, 1),
    "divided_by_zero": function(lambda x: x / 0, IMAGE),
    "infinite": function(lambda x: x * torch.inf, IMAGE),
    "floored": function(lambda x: torch.div(x, 2, rounding_mode="floor"), IMAGE),
    "two_values": function(lambda x, y: x + y, IMAGE, IMAGE),
    "broadcast": with_constant(lambda m, x: x.mean(2, keepdim=True) + m.k, 4, 3, 1),
    "more_axes": with_constant(lambda m, x: x.mean(0) + m.k, 2, 4, 3, 2),
    "activation": function(F.relu, IMAGE),
}
passage = Passages(
    {
        **NORMS,
        **ARITHMETIC,
        **NO_MAPS,
        "computed": function(lambda x: F.batch_norm(x, ZEROS, ZEROS + 1, x.mean((0, 2, 3))), IMAGE),
        "huge": function(lambda x: x * 1e200, IMAGE),
    }
)
decomposed = Passages(
    {
        "own_statistics": norm(lambda: nn.BatchNorm2d(4, track_running_stats=False)),
        "own_image_statistics": norm(lambda: nn.InstanceNorm2d(4)),
    }
)


def reading(name: str) -> tuple[AffineReading | Refusal | None, fx.GraphModule]:
    module = (decomposed if name in decomposed.sketches else passage)[name]
    (result,) = module.graph.output_node().all_input_nodes
    made = result.all_input_nodes[0] if result.target is operator.getitem else result
    return read_affine(MutableGraph(module), made), module


@pytest.mark.parametrize("name", [n for n in NORMS | ARITHMETIC if n != "scalars"])
def test_an_operator_is_read_as_the_map_that_it_computes(name: str) -> None:
    read, module = reading(name)
    assert isinstance(read, AffineReading)
    assert read.source.op == "placeholder"
    x = torch.randn(passage.sketches[name].shapes[0]).double()
    expected = read.change.scale * x + read.change.shift
    torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NORMS | ARITHMETIC)
def test_a_map_becomes_one_with_the_map_behind_it_or_in_front_of_it(name: str) -> None:
    assert passage(name).up(ANY) == PASSES
    assert passage(name).down(ANY) == PASSES
    assert passage(name).down(SHIFT, axes=()) == PASSES


@pytest.mark.parametrize("name", NO_MAPS)
def test_everything_else_is_no_map(name: str) -> None:
    assert reading(name)[0] is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("own_statistics", "it has no running statistics: it normalizes by the batch's own"),
        ("own_image_statistics", "it normalizes every image by its own statistics"),
        (
            "computed",
            "its statistics, weight or bias are computed in the forward, not stored",
        ),
    ],
)
def test_a_norm_that_is_no_map_has_a_reason(name: str, reason: str) -> None:
    assert str(reading(name)[0]) == reason


def test_a_norm_that_is_no_map_takes_none() -> None:
    reason = "it normalizes every image by its own statistics"
    assert decomposed("own_image_statistics").up(ANY) == reason
    assert decomposed("own_image_statistics").down(ANY) == reason


@pytest.mark.parametrize(
    ("buffer", "value"),
    [("running_mean", torch.nan), ("running_var", -1.0), ("weight", torch.inf)],
)
def test_statistics_that_are_no_numbers_are_a_reason(buffer: str, value: float) -> None:
    module: Any = passage["image"]
    getattr(module, buffer).data[1] = value
    (result,) = module.graph.output_node().all_input_nodes
    assert str(read_affine(MutableGraph(module), result)) == (
        "its statistics, weight or bias hold NaN, infinity or a negative variance"
    )


def test_two_maps_that_overflow_together_do_not_become_one() -> None:
    huge = ChannelMap.of(torch.full([1] * 4, 1e200, dtype=torch.float64), torch.zeros([1] * 4))
    reason = "the two maps in a row leave the range of torch.float64"
    assert passage("huge").up(huge) == reason
    assert passage("huge").down(huge) == reason


def test_a_norm_of_the_own_channels_takes_a_map_along_other_axes_too() -> None:
    assert passage("image").up(SCALE, axes=(2, 3)) == PASSES
    assert passage("image").down(ANY, axes=(2,)) == PASSES


def turns(step: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a function that does a step over and over."""

    def run(x: Tensor) -> Tensor:
        y = torch.sigmoid(x)
        for _ in range(12):
            y = step(y)
        return y

    return run


LOOPS = {
    "the logistic map": turns(lambda y: 3.2 * y * (1 - y)),
    "squares": turns(lambda y: 1 - 1.2 * (y - 0.5) * (y - 0.5)),
    "gates": turns(lambda y: 3 * y * torch.sigmoid(y) - 0.5),
    "a product with an average": turns(lambda y: 2.5 * y * (1 - y.mean((2, 3), keepdim=True))),
}


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_factors_that_a_loop_would_multiply_over_and_over_stay_in_range(
    name: str, dtype: torch.dtype
) -> None:
    net = Applied(lambda _, x: LOOPS[name](x)).eval()
    x = torch.randn(IMAGE, generator=torch.Generator().manual_seed(0)).to(dtype)
    truth = net(x.double())
    own = (net(x).double() - truth).norm() / truth.norm()
    folded = bnc.fold(net, (x,)).module(x).double()
    assert (folded - truth).norm() / truth.norm() <= 8 * own + 8 * torch.finfo(dtype).eps
