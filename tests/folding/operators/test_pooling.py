import pytest
from torch.nn import functional as F

from tests.excerpts import function
from tests.folding.operators.passage import ANY, PASSES, POSITIVE, SCALE, SHIFT, Passages

SERIES, IMAGE, VOLUME = (2, 4, 9), (2, 4, 6, 8), (2, 4, 4, 6, 5)
AVERAGES = {
    "average1d": function(lambda x: F.avg_pool1d(x, 3, 2), SERIES),
    "average2d": function(lambda x: F.avg_pool2d(x, 2), IMAGE),
    "average3d": function(lambda x: F.avg_pool3d(x, 2), VOLUME),
    "ceiled": function(lambda x: F.avg_pool2d(x, 4, 3, ceil_mode=True), IMAGE),
    "not_counted": function(lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), IMAGE),
    "adaptive1d": function(lambda x: F.adaptive_avg_pool1d(x, 2), SERIES),
    "adaptive2d": function(lambda x: F.adaptive_avg_pool2d(x, (2, 3)), IMAGE),
    "adaptive3d": function(lambda x: F.adaptive_avg_pool3d(x, 2), VOLUME),
    "mean": function(lambda x: x.mean((2, 3)), IMAGE),
    "mean_kept": function(lambda x: x.mean((-2, -1), keepdim=True), IMAGE),
}
PADDED = {
    "padded1d": function(lambda x: F.avg_pool1d(x, 3, 2, 1), SERIES),
    "padded2d": function(lambda x: F.avg_pool2d(x, 3, 2, 1), IMAGE),
    "padded3d": function(lambda x: F.avg_pool3d(x, 3, 2, 1), VOLUME),
}
DIVIDED = {
    "divided2d": function(lambda x: F.avg_pool2d(x, 2, divisor_override=3), IMAGE),
    "divided3d": function(lambda x: F.avg_pool3d(x, 2, divisor_override=3), VOLUME),
}
MAXIMA = {
    "max1d": function(lambda x: F.max_pool1d(x, 3, 2), SERIES),
    "max2d": function(lambda x: F.max_pool2d(x, 3, 2, 1), IMAGE),
    "max3d": function(lambda x: F.max_pool3d(x, 2), VOLUME),
    "amax": function(lambda x: x.amax((2, 3)), IMAGE),
    "amax_kept": function(lambda x: x.amax((2, 3), keepdim=True), IMAGE),
}
OTHERS = {
    "mean_of_channels": function(lambda x: x.mean(1), IMAGE),
    "indexed": function(lambda x: F.adaptive_max_pool2d(x, 1), IMAGE),
}
passage = Passages({**AVERAGES, **PADDED, **DIVIDED, **MAXIMA, **OTHERS})


@pytest.mark.parametrize("name", AVERAGES)
def test_an_average_lets_every_map_pass_both_ways(name: str) -> None:
    assert passage(name).up(ANY) == PASSES
    assert passage(name).down(ANY) == PASSES


@pytest.mark.parametrize("name", PADDED)
def test_an_average_that_counts_its_padding_lets_a_multiplication_pass(name: str) -> None:
    refusal = "average pooling counts the zeros of its padding, which get no addition"
    assert passage(name).up(SCALE) == PASSES
    assert passage(name).down(SCALE) == PASSES
    assert passage(name).up(SHIFT) == refusal
    assert passage(name).down(SHIFT) == refusal


@pytest.mark.parametrize("name", DIVIDED)
def test_a_divisor_of_its_own_makes_an_average_a_sum(name: str) -> None:
    refusal = "average pooling with a divisor of its own"
    assert passage(name).up(SCALE) == PASSES
    assert passage(name).down(SCALE) == PASSES
    assert passage(name).up(SHIFT) == refusal
    assert passage(name).down(SHIFT) == refusal


@pytest.mark.parametrize("name", MAXIMA)
def test_a_maximum_lets_positive_scales_pass_with_any_addition(name: str) -> None:
    refusal = "max pooling: only positive scales pass it"
    assert passage(name).up(POSITIVE) == PASSES
    assert passage(name).down(POSITIVE) == PASSES
    assert passage(name).up(SCALE) == refusal
    assert passage(name).down(SCALE) == refusal


@pytest.mark.parametrize("name", ["average1d", "adaptive2d", "mean", "mean_kept", "max2d"])
def test_a_map_that_varies_along_a_pooled_axis_does_not_pass(name: str) -> None:
    refusal = "it varies from place to place of a value that is pooled"
    assert passage(name).down(SHIFT, axes=(1, 2)) == refusal


@pytest.mark.parametrize("name", ["average2d", "adaptive1d", "max3d"])
def test_a_map_that_varies_along_a_pooled_result_does_not_come_up(name: str) -> None:
    refusal = "it varies from place to place of a pooled value"
    assert passage(name).up(SHIFT, axes=(2,)) == refusal


def test_a_mean_of_channels_lets_maps_of_the_other_axes_pass() -> None:
    assert passage("mean_of_channels").up(ANY, axes=(1, 2)) == PASSES
    assert passage("mean_of_channels").down(ANY, axes=(2, 3)) == PASSES
    refusal = "it varies from place to place of a value that is pooled"
    assert passage("mean_of_channels").down(ANY) == refusal


def test_a_maximum_that_gives_its_place_too_is_none_of_them() -> None:
    assert passage("indexed").down(POSITIVE) == "adaptive_max_pool2d reads it"
