import copy

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from bnconvert.graphs.example import Example
from bnconvert.numerics.distance import relative_error
from bnconvert.verification.values.dual_precision import DualPrecisionRun
from tests.excerpts import Applied, capture_of
from tests.zoo import trained

INPUTS = (torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0)),)


class Steps(nn.Module):
    """A convolution, a norm that stands, a size, and something that depends on weights only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.factor = nn.Parameter(torch.rand(4))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(F.silu(self.conv(x))))
        return F.max_pool2d(y, 2) * y.shape[0] * torch.exp(self.factor)[:, None, None]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return trained(Steps())


@pytest.fixture
def graph(model: nn.Module) -> fx.GraphModule:
    return capture_of(model, INPUTS).module


def names(steps: list[tuple[fx.Node, Tensor, Tensor]]) -> list[str]:
    return [str(node.target).partition(".")[2].partition(".")[0] for node, _, _ in steps]


def test_values_that_depend_on_the_inputs_are_given_in_order(graph: fx.GraphModule) -> None:
    steps = list(DualPrecisionRun(graph, Example.of(INPUTS)).steps())
    assert names(steps) == ["conv2d", "silu", "batch_norm", "relu", "max_pool2d", "mul", "mul"]


def test_each_is_given_in_float64_and_in_its_own_dtype(
    model: nn.Module, graph: fx.GraphModule
) -> None:
    *_, (_, exact, native) = DualPrecisionRun(graph, Example.of(INPUTS)).steps()
    wide = copy.deepcopy(model).double()
    assert (exact.dtype, native.dtype) == (torch.float64, torch.float32)
    assert relative_error(exact, wide(INPUTS[0].double()), "peak") < 1e-14
    assert relative_error(native, model(*INPUTS), "peak") < 1e-6


def test_a_walk_goes_on_from_a_value_that_is_put_in(graph: fx.GraphModule) -> None:
    walk = DualPrecisionRun(graph, Example.of(INPUTS))
    for node, exact, native in walk.steps():
        if node.target is torch.ops.aten.relu.default:
            walk.replace(node, torch.full_like(native, 2.0))
        elif node.target is torch.ops.aten.max_pool2d.default:
            assert torch.equal(exact, torch.full_like(exact, 2.0))
            assert exact.dtype == torch.float64


def test_what_nobody_reads_any_more_is_forgotten(graph: fx.GraphModule) -> None:
    walk = DualPrecisionRun(graph, Example.of(INPUTS))
    held = [{str(kept) for kept in walk.values} for _ in walk.steps()]
    conv, silu, norm, relu, *_ = held
    assert "conv2d" in conv
    assert "conv2d" in silu
    assert "conv2d" not in norm
    assert "norm_weight" in silu
    assert "norm_weight" not in relu
    assert len(walk.values) <= 2


def test_further_runs_are_rounded_otherwise_and_go_on_from_a_value_that_is_put_in(
    graph: fx.GraphModule,
) -> None:
    run = DualPrecisionRun(graph, Example.of(INPUTS), further=3)
    for node, _, native in run.steps():
        _, *further = run.own_values(node)
        errors = [relative_error(value, native, "norm") for value in further]
        assert len(further) == 3
        assert all(0 < error < 1e-6 for error in errors)
        if str(node) == "conv2d":
            run.replace(node, native + 1)
            put_in, *others = run.own_values(node)
            assert torch.equal(put_in, native + 1)
            assert all(0 < relative_error(value, put_in, "norm") < 1e-6 for value in others)


def test_it_is_known_which_values_are_floating_point() -> None:
    both = Applied(lambda _, x: torch.max(x * 2, 1))
    run = DualPrecisionRun(capture_of(both, INPUTS).module, Example.of(INPUTS))
    given = [native.is_floating_point() for _, _, native in run.steps()]
    assert given == [True, True, False], "the product, the largest, and where it is"
    assert [*run.varying.values()] == [True, True, False, True, False], "an input; a tuple of two"
