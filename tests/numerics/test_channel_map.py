import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bnconvert.numerics.channel_map import ChannelMap

SIZES = (2, 4, 3)


def drawn(*axes: int) -> ChannelMap:
    """Draw a map of values of SIZES that varies along `axes`."""
    shape = [size if axis in axes else 1 for axis, size in enumerate(SIZES)]
    return ChannelMap(torch.randn(shape).double(), torch.randn(shape).double())


def applied(change: ChannelMap, x: Tensor) -> Tensor:
    return change.scale * x + change.shift


def value() -> Tensor:
    return torch.randn(SIZES).double()


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-13, atol=1e-13)


def test_eval_batch_norm_is_a_map_on_axis_1() -> None:
    mean, var, weight, bias = torch.randn(4), torch.rand(4) + 0.1, torch.randn(4), torch.randn(4)
    scale = weight.double() / (var.double() + 1e-3).sqrt()
    change = ChannelMap.on_axis(scale, bias - mean * scale, 1, 3)
    mean, var, weight, bias = (tensor.double() for tensor in (mean, var, weight, bias))
    x = value()
    assert_same(applied(change, x), F.batch_norm(x, mean, var, weight, bias, eps=1e-3))


def test_a_map_is_float64_and_no_larger_than_what_it_depends_on() -> None:
    scale = torch.tensor([2.0, 3]).reshape(1, 2, 1).expand(5, 2, 7)
    change = ChannelMap.of(scale, torch.full((5, 2, 7), 0.5))
    assert change.scale.dtype is change.shift.dtype is torch.float64
    assert change.scale.shape == (1, 2, 1)
    assert change.shift.shape == (1, 1, 1)
    assert [change.varies_along(axis) for axis in range(3)] == [False, True, False]


def test_what_is_not_a_number_is_not_like_another() -> None:
    change = ChannelMap.of(torch.full((1, 3), torch.nan), torch.zeros(1, 3))
    assert change.scale.shape == (1, 3)
    assert not change.is_finite


def test_the_identity_changes_nothing() -> None:
    none = ChannelMap.identity(3)
    assert none.axes == 3
    assert none.is_identity
    assert none.is_finite
    assert none.is_positive
    x = value()
    assert torch.equal(applied(none, x), x)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (2.0, 0.0), (1.0, 3.0), (-1.0, 3.0)])
def test_it_is_known_what_a_map_does(scale: float, shift: float) -> None:
    change = ChannelMap.of(torch.tensor([1.0, scale]), torch.tensor([0.0, shift]))
    assert change.scales == (scale != 1)
    assert change.shifts == (shift != 0)
    assert change.is_identity == (scale == 1 and shift == 0)
    assert change.is_positive == (scale > 0)


def test_a_scale_of_zero_is_not_positive() -> None:
    assert ChannelMap.of(torch.tensor([1.0, 2.0]), torch.zeros(2)).is_positive is True
    assert not ChannelMap.of(torch.tensor([1.0, 0.0]), torch.zeros(2)).is_positive


@pytest.mark.parametrize("infinite", [torch.inf, -torch.inf, torch.nan])
def test_every_number_counts_for_finiteness(infinite: float) -> None:
    numbers, ones = torch.tensor([1.0, infinite]), torch.ones(2)
    assert not ChannelMap.of(numbers, ones).is_finite
    assert not ChannelMap.of(ones, numbers).is_finite


def test_a_finite_number_may_be_none_in_a_narrower_dtype() -> None:
    for scale, shift in ((1e39, 0.0), (1.0, -1e39)):
        change = ChannelMap.of(
            torch.tensor([1.0, scale], dtype=torch.float64),
            torch.tensor([0.0, shift], dtype=torch.float64),
        )
        assert not change.is_finite_in(torch.float32)
    wide = ChannelMap.of(torch.tensor([1e30]), torch.zeros(1))
    assert wide.is_finite_in(torch.bfloat16)
    assert not wide.is_finite_in(torch.float16)


@pytest.mark.parametrize(
    ("scale", "within"), [(8.0, True), (-8.0, True), (0.125, True), (9.0, False), (-0.1, False)]
)
def test_every_factor_but_zero_counts_for_the_range(scale: float, within: bool) -> None:
    change = ChannelMap.of(torch.tensor([1.0, 0.0, scale]), torch.zeros(3))
    assert change.is_within(8.0) == within


@pytest.mark.parametrize("second", [(1,), (2,), (0, 1), ()])
@pytest.mark.parametrize("first", [(1,), (0, 2), ()])
def test_two_maps_in_a_row_are_one(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    before, after, x = drawn(*first), drawn(*second), value()
    assert_same(applied(after.after(before), x), applied(after, applied(before, x)))


def test_a_map_is_its_multiplication_and_then_its_addition() -> None:
    change, x = drawn(1), value()
    assert not change.scaling().shifts
    assert not change.shifting().scales
    assert_same(applied(change.shifting(), applied(change.scaling(), x)), applied(change, x))


def test_a_map_is_another_addition_and_then_its_multiplication() -> None:
    change, x = drawn(1, 2), value()
    first = change.shifting_first()
    assert first is not None
    assert_same(applied(change.scaling(), applied(first, x)), applied(change, x))


def test_no_addition_comes_before_a_multiplication_by_zero() -> None:
    change = ChannelMap.of(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 2.0]))
    assert change.shifting_first() is None


def test_the_mirrored_addition_takes_it_back() -> None:
    change, x = drawn(1), value()
    assert_same(applied(change.mirrored(), applied(change.shifting(), x)), x)


def test_what_is_done_to_each_tensor_is_done_to_the_value() -> None:
    change, x = drawn(0, 1), value()
    moved = change.each(lambda tensor: tensor.transpose(0, 2))
    assert_same(applied(moved, x.transpose(0, 2)), applied(change, x).transpose(0, 2))


@pytest.mark.parametrize("axis", [1, -2])
def test_a_map_along_one_axis_has_vectors(axis: int) -> None:
    change = drawn(1)
    vectors = change.vectors(axis, 4)
    assert vectors is not None
    assert torch.equal(vectors[0], change.scale.flatten())
    assert torch.equal(vectors[1], change.shift.flatten())
    assert change.vectors(2, 3) is None
    assert drawn(1, 2).vectors(1, 4) is None


def test_vectors_are_as_long_as_the_axis_even_where_nothing_varies() -> None:
    vectors = drawn().vectors(2, 3)
    assert vectors is not None
    scale, shift = vectors
    assert scale.shape == shift.shape == (3,)
    mixed = ChannelMap(drawn(1).scale, drawn().shift)
    assert [tensor.shape for tensor in mixed.vectors(1, 4) or ()] == [(4,), (4,)]


def test_a_widened_map_is_the_same_with_a_number_for_every_position() -> None:
    change, x = drawn(1), value()
    wide = change.widened(2, 3).widened(0, 2)
    assert wide.scale.shape == wide.shift.shape == SIZES
    assert_same(applied(wide, x), applied(change, x))
