from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bnconvert.numerics.linear_maps import (
    composed,
    conv_with_input_map,
    dense_weight,
    linear_with_output_map,
    transposed_with_input_scale,
    transposed_with_output_map,
)

CONVS: tuple[Any, ...] = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED: tuple[Any, ...] = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
CHANNELS = [(4, 6, 1), (4, 6, 2), (4, 4, 4), (4, 8, 4), (6, 3, 3)]
DATA = pytest.mark.parametrize("with_bias", [True, False])
RANKS = pytest.mark.parametrize("rank", [1, 2, 3])
GROUPS = pytest.mark.parametrize(("inputs", "outputs", "groups"), CHANNELS)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def mapped(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Map the channels, axis 1, one by one."""
    return torch.stack(
        [x[:, c] * scale[c] + shift[c] for c in range(len(scale))],
        dim=1,
    )


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@RANKS
@GROUPS
@DATA
def test_a_convolution_with_a_map_behind_it(
    rank: int, inputs: int, outputs: int, groups: int, with_bias: bool
) -> None:
    conv, x = CONVS[rank - 1], normal(2, inputs, *[5] * rank)
    weight = normal(outputs, inputs // groups, *[3] * rank)
    bias = normal(outputs) if with_bias else None
    scale, shift = normal(outputs), normal(outputs)
    expected = mapped(conv(x, weight, bias, 2, 1, 1, groups), scale, shift)
    assert_same(
        conv(x, *linear_with_output_map(weight, bias, scale, shift), 2, 1, 1, groups), expected
    )


@RANKS
@GROUPS
@DATA
def test_a_convolution_with_a_map_in_front_of_it(
    rank: int, inputs: int, outputs: int, groups: int, with_bias: bool
) -> None:
    conv, x = CONVS[rank - 1], normal(2, inputs, *[5] * rank)
    weight = normal(outputs, inputs // groups, *[3] * rank)
    bias = normal(outputs) if with_bias else None
    scale, shift = normal(inputs), normal(inputs)
    expected = conv(mapped(x, scale, shift), weight, bias, 2, 0, 2, groups)
    folded = conv_with_input_map(weight, bias, scale, shift, groups)
    assert_same(conv(x, *folded, 2, 0, 2, groups), expected)
    padded = conv(mapped(x, scale, 0 * shift), weight, bias, 1, 1, 1, groups)
    folded = conv_with_input_map(weight, bias, scale, 0 * shift, groups)
    assert_same(conv(x, *folded, 1, 1, 1, groups), padded)


@DATA
def test_a_linear_layer_is_a_convolution_of_one_pixel(with_bias: bool) -> None:
    weight, bias, x = normal(5, 3), normal(5) if with_bias else None, normal(4, 3)
    scale, shift = normal(5), normal(5)
    expected = mapped(F.linear(x, weight, bias), scale, shift)
    assert_same(F.linear(x, *linear_with_output_map(weight, bias, scale, shift)), expected)
    expected = F.linear(mapped(x, scale[:3], shift[:3]), weight, bias)
    folded = conv_with_input_map(weight, bias, scale[:3], shift[:3], 1)
    assert_same(F.linear(x, *folded), expected)


@RANKS
@GROUPS
@DATA
def test_a_transposed_convolution_with_a_map_behind_it(
    rank: int, inputs: int, outputs: int, groups: int, with_bias: bool
) -> None:
    conv, x = TRANSPOSED[rank - 1], normal(2, inputs, *[4] * rank)
    weight = normal(inputs, outputs // groups, *[3] * rank)
    bias = normal(outputs) if with_bias else None
    scale, shift = normal(outputs), normal(outputs)
    expected = mapped(conv(x, weight, bias, 2, 1, 1, groups), scale, shift)
    folded = transposed_with_output_map(weight, bias, scale, shift, groups)
    assert_same(conv(x, *folded, 2, 1, 1, groups), expected)


@RANKS
@GROUPS
def test_a_transposed_convolution_with_a_multiplication_in_front_of_it(
    rank: int, inputs: int, outputs: int, groups: int
) -> None:
    conv, x = TRANSPOSED[rank - 1], normal(2, inputs, *[4] * rank)
    weight, scale = normal(inputs, outputs // groups, *[3] * rank), normal(inputs)
    expected = conv(mapped(x, scale, 0 * scale), weight, None, 2, 1, 1, groups)
    assert_same(
        conv(x, transposed_with_input_scale(weight, scale), None, 2, 1, 1, groups), expected
    )


def test_a_bias_comes_into_being_only_where_something_is_added() -> None:
    weight, scale, none = normal(4, 4, 1), normal(4), torch.zeros(4).double()
    assert linear_with_output_map(weight, None, scale, none)[1] is None
    assert transposed_with_output_map(weight, None, scale, none, 1)[1] is None
    assert conv_with_input_map(weight, None, scale, none, 1)[1] is None
    bias = normal(4)
    _, kept = conv_with_input_map(weight, bias, scale, none, 1)
    assert kept is not None
    assert torch.equal(kept, bias)


def test_the_given_tensors_stay_as_they_are() -> None:
    tensors = weight, _, scale, shift = normal(4, 4, 1), normal(4), normal(4), normal(4)
    copies = [tensor.clone() for tensor in tensors]
    linear_with_output_map(*tensors)
    conv_with_input_map(*tensors, 1)
    transposed_with_output_map(*tensors, 1)
    _, bias = linear_with_output_map(weight, None, scale, shift)
    assert bias is not None
    bias.zero_()
    assert all(map(torch.equal, tensors, copies))


@pytest.mark.parametrize(("groups", "fewer"), [(4, 1), (4, 2), (2, 1), (4, 4), (1, 1), (6, 2)])
@pytest.mark.parametrize("rank", [1, 2])
def test_a_grouped_convolution_is_one_with_fewer_groups(rank: int, groups: int, fewer: int) -> None:
    conv, channels = CONVS[rank - 1], 12
    x, weight = (
        normal(2, channels, *[5] * rank),
        normal(channels * 2, channels // groups, *[3] * rank),
    )
    dense = dense_weight(weight, groups, fewer)
    assert dense.shape == (channels * 2, channels // fewer, *[3] * rank)
    assert_same(conv(x, dense, groups=fewer), conv(x, weight, groups=groups))


@pytest.mark.parametrize(
    ("first", "second"), [((3, 2), (1, 1)), ((1, 1), (2, 3)), ((1, 1), (1, 1))]
)
def test_two_convolutions_in_a_row_are_one(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    x, one, two = normal(2, 3, 6, 5), normal(4, 3, *first), normal(5, 4, *second)
    assert_same(F.conv2d(x, composed(one, two)), F.conv2d(F.conv2d(x, one), two))


def test_two_linear_maps_of_series_and_volumes_compose_too() -> None:
    for rank in (1, 3):
        conv, ones = CONVS[rank - 1], [1] * rank
        x, one, two = normal(2, 3, *[4] * rank), normal(4, 3, *[2] * rank), normal(5, 4, *ones)
        assert_same(conv(x, composed(one, two)), conv(conv(x, one), two))
