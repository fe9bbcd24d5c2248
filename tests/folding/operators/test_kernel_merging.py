from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from bnconvert.folding.operators.kernel_merging import (
    Kernel,
    kernel_of,
    merged,
    pooling_kernel,
    scaling_kernel,
)
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.numerics.factored import Factored
from tests.excerpts import Excerpts, function, model

SHAPES = {1: (2, 4, 9), 2: (2, 4, 9, 8), 3: (2, 4, 5, 6, 5)}
IMAGE = SHAPES[2]
WORK = "one convolution for the branches would be more work than the branches"
SOURCE = fx.Graph().placeholder("x")
CONVS = {
    "plain": model(lambda: nn.Conv2d(4, 6, 3), IMAGE),
    "series": model(lambda: nn.Conv1d(4, 6, 3, 2, 1, bias=False), SHAPES[1]),
    "volume": model(lambda: nn.Conv3d(4, 4, (1, 2, 3), padding=(0, 1, 2), groups=2), SHAPES[3]),
    "dilated": model(lambda: nn.Conv2d(4, 6, 3, 2, 2, 2, groups=2), IMAGE),
    "valid": model(lambda: nn.Conv2d(4, 6, 3, padding="valid"), IMAGE),
    "same": model(lambda: nn.Conv2d(4, 6, (3, 5), padding="same", dilation=(3, 1)), IMAGE),
    "same_even": model(lambda: nn.Conv2d(4, 6, 2, padding="same", dilation=2), IMAGE),
}
POOLS = {
    "pool1d": function(lambda x: F.avg_pool1d(x, 3, 2, 1), SHAPES[1]),
    "pool2d": function(lambda x: F.avg_pool2d(x, (3, 2)), IMAGE),
    "pool3d": function(lambda x: F.avg_pool3d(x, 2, 1), SHAPES[3]),
    "padded": function(lambda x: F.avg_pool2d(x, 3, 1, 1), IMAGE),
}
NO_KERNELS = {
    "asymmetric": model(lambda: nn.Conv2d(4, 6, 2, padding="same"), IMAGE),
    "transposed": model(lambda: nn.ConvTranspose2d(4, 6, 3), IMAGE),
    "computed": function(
        lambda x: F.conv2d(x, x.mean((0, 2, 3)).expand(1, 4).reshape(1, 4, 1, 1)), IMAGE
    ),
    "excluded": function(lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), IMAGE),
    "ceiled": function(lambda x: F.avg_pool2d(x, 2, ceil_mode=True), IMAGE),
    "divided": function(lambda x: F.avg_pool3d(x, 2, divisor_override=3), SHAPES[3]),
    "maximum": function(lambda x: F.max_pool2d(x, 2), IMAGE),
}
EXCERPTS = Excerpts({**CONVS, **POOLS, **NO_KERNELS})
FIXED = Excerpts({"unbatched": model(lambda: nn.Conv1d(4, 6, 3), (4, 9))}, dynamic=())


def the_only(module: fx.GraphModule) -> fx.Node:
    (result,) = module.graph.output_node().all_input_nodes
    return result


def computed(kernel: Kernel, x: Tensor) -> Tensor:
    convolve: Any = (F.conv1d, F.conv2d, F.conv3d)[len(kernel.size) - 1]
    geometry = kernel.stride, kernel.padding, kernel.dilation, kernel.groups
    result: Tensor = convolve(x, kernel.weight, kernel.bias, *geometry)
    return result


def kernel(
    out: int = 4,
    size: tuple[int, ...] = (3, 3),
    padding: tuple[int, ...] = (1, 1),
    *,
    stride: tuple[int, ...] = (1, 1),
    dilation: tuple[int, ...] = (1, 1),
    groups: int = 1,
) -> Kernel:
    """Draw a convolution of the image's four channels."""
    weight = torch.randn(out, 4 // groups, *size).double()
    bias = torch.randn(out).double()
    cost = weight[0].numel()
    return Kernel(SOURCE, Factored(weight), bias, stride, padding, dilation, groups, cost)


def assert_merged(first: Kernel, second: Kernel, factor: float = 1.0) -> Kernel:
    x = torch.randn(IMAGE).double()
    whole = merged(first, second, factor)
    assert isinstance(whole, Kernel), whole
    expected = computed(first, x) + factor * computed(second, x)
    torch.testing.assert_close(computed(whole, x), expected, rtol=1e-12, atol=1e-12)
    return whole


@pytest.mark.parametrize("name", CONVS)
def test_a_convolution_is_read_with_its_geometry(name: str) -> None:
    module = EXCERPTS[name]
    node = the_only(module)
    read = kernel_of(MutableGraph(module), node)
    assert read is not None
    assert read.source is node.args[0]
    assert read.cost == prod(read.weight.shape[1:])
    x = torch.randn(CONVS[name].shapes[0]).double()
    torch.testing.assert_close(computed(read, x), module(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", POOLS)
def test_average_pooling_is_a_depthwise_convolution(name: str) -> None:
    module = EXCERPTS[name]
    read = pooling_kernel(the_only(module), 4)
    assert read is not None
    assert read.groups == 4
    x = torch.randn(POOLS[name].shapes[0]).double()
    torch.testing.assert_close(computed(read, x), module(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NO_KERNELS)
def test_everything_else_is_no_kernel(name: str) -> None:
    module = EXCERPTS[name]
    assert kernel_of(MutableGraph(module), the_only(module)) is None
    assert pooling_kernel(the_only(module), 4) is None


def test_a_convolution_without_a_batch_axis_is_left_alone() -> None:
    module = FIXED["unbatched"]
    assert kernel_of(MutableGraph(module), the_only(module)) is None


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_map_of_the_channels_is_a_depthwise_kernel_of_one_pixel(rank: int) -> None:
    scale, shift, x = (torch.randn(sizes).double() for sizes in (4, 4, SHAPES[rank]))
    shape = (-1, *[1] * rank)
    expected = x * scale.reshape(shape) + shift.reshape(shape)
    actual = computed(scaling_kernel(SOURCE, scale, shift, rank, 2), x)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("factor", [1.0, -1.0, 0.5])
def test_a_smaller_kernel_is_surrounded_by_zeros(factor: float) -> None:
    point = kernel(size=(1, 1), padding=(0, 0))
    assert_merged(kernel(), point, factor)
    assert_merged(point, kernel(), factor)
    assert_merged(kernel(size=(5, 3), padding=(2, 1)), kernel(), factor)
    assert_merged(kernel(padding=(0, 0)), kernel(size=(5, 5)), factor)


def test_a_row_a_column_and_a_square_are_one_square() -> None:
    row, column = kernel(size=(1, 3), padding=(0, 1)), kernel(size=(3, 1), padding=(1, 0))
    assert assert_merged(assert_merged(kernel(), row), column).size == (3, 3)
    assert str(merged(row, column, 1.0)) == WORK


def test_strides_must_be_the_same() -> None:
    two = (2, 2)
    assert_merged(kernel(stride=two), kernel(size=(1, 1), padding=(0, 0), stride=two))
    assert str(merged(kernel(stride=two), kernel(), 1.0)) == "the branches have different strides"


def test_a_dilated_kernel_takes_what_lies_on_its_grid() -> None:
    dilated = kernel(padding=(2, 2), dilation=(2, 2))
    assert_merged(dilated, kernel(size=(1, 1), padding=(0, 0)))
    assert_merged(dilated, kernel(size=(1, 1), padding=(0, 0), dilation=(7, 5)))
    assert_merged(dilated, kernel(size=(5, 3), padding=(4, 2), dilation=(2, 2)))
    assert str(merged(dilated, kernel(size=(3, 3)), 1.0)) == (
        "the branches' windows are not centered alike"
    )


@pytest.mark.parametrize(
    "other",
    [
        kernel(padding=(0, 0)),
        kernel(size=(2, 2), padding=(0, 0)),
        kernel(out=6),
        kernel(size=(3, 3), padding=(1, 2)),
    ],
)
def test_windows_that_are_not_centered_alike_are_refused(other: Kernel) -> None:
    assert str(merged(kernel(), other, 1.0)) == "the branches' windows are not centered alike"


def test_groups_become_fewer_where_that_is_no_more_work() -> None:
    assert assert_merged(kernel(groups=2), kernel(groups=2)).groups == 2
    assert assert_merged(kernel(), kernel(size=(1, 1), padding=(0, 0), groups=4)).groups == 1
    assert assert_merged(kernel(groups=4), kernel(groups=4)).groups == 4


def test_one_convolution_that_would_be_more_work_is_refused() -> None:
    point = kernel(size=(1, 1), padding=(0, 0))
    assert str(merged(kernel(groups=4), point, 1.0)) == WORK
    assert str(merged(point, kernel(groups=4), -1.0)) == WORK


def test_the_identity_costs_nothing_and_makes_a_convolution_no_larger() -> None:
    ones = torch.ones(4).double()
    identity = scaling_kernel(SOURCE, ones, 0 * ones, 2, 0)
    whole = assert_merged(kernel(), identity)
    assert whole.weight.shape == (4, 4, 3, 3)
    assert_merged(kernel(groups=2), identity, -1.0)


def test_the_slack_is_how_much_longer_the_output_is() -> None:
    for k in (kernel(), kernel(size=(5, 2), padding=(0, 3), dilation=(2, 3))):
        x = torch.randn(IMAGE).double()
        longer = [o - i for o, i in zip(computed(k, x).shape[2:], IMAGE[2:], strict=True)]
        assert k.slack == tuple(longer)
