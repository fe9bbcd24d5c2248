import math

import pytest
import torch

from bnconvert.numerics.distance import (
    difference,
    relative_error,
    rounding_error,
    rounding_errors,
)


def test_the_norm_is_the_root_mean_square_error_over_the_size_of_the_truth() -> None:
    truth = torch.tensor([3.0, -4.0])
    assert relative_error(truth + torch.tensor([0.3, 0.4]), truth, "norm") == pytest.approx(0.1)


def test_the_peak_is_the_largest_error_over_the_size_of_the_truth() -> None:
    truth = torch.full((100,), 2.0)
    measured = truth.clone()
    measured[7] += 1.0
    assert relative_error(measured, truth, "peak") == pytest.approx(0.5)
    assert relative_error(measured, truth, "norm") == pytest.approx(0.05)


def test_an_error_against_zero_is_absolute() -> None:
    assert relative_error(torch.full((4,), 0.25), torch.zeros(4), "norm") == 0.25


def test_other_shapes_are_infinitely_far() -> None:
    assert relative_error(torch.zeros(2), torch.zeros(3), "norm") == math.inf


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_integers_are_as_far_as_the_share_that_differs(dtype: torch.dtype) -> None:
    truth = torch.tensor([0, 1, 1, 0]).to(dtype)
    measured = torch.tensor([0, 1, 0, 0]).to(dtype)
    assert relative_error(measured, truth, "norm") == 0.25


def test_an_error_is_measured_in_float64_whatever_the_dtype() -> None:
    truth = torch.tensor([60000.0, 60000.0], dtype=torch.float16)
    measured = torch.tensor([60032.0, 60000.0], dtype=torch.float16)
    assert relative_error(measured, truth, "peak") == pytest.approx(32 / 60000)


def test_values_that_are_not_finite_are_left_to_difference() -> None:
    truth, measured = torch.tensor([1.0, math.nan]), torch.tensor([1.0, 2.0])
    assert relative_error(measured, truth, "norm") == 0.0
    assert difference(measured, truth) == "NaN or infinity at other places than the model's"
    assert difference(truth, truth) == ""


@pytest.mark.parametrize("other", [-math.inf, math.inf, 1.0])
def test_nan_and_both_infinities_are_different_values(other: float) -> None:
    nothing = torch.tensor([math.nan, 1.0])
    assert difference(nothing, nothing) == ""
    assert "other places" in difference(torch.tensor([other, 1.0]), nothing)
    infinite = torch.tensor([math.inf, 1.0])
    assert bool(difference(torch.tensor([other, 1.0]), infinite)) == (other != math.inf)


def test_shapes_and_dtypes_differ_in_words() -> None:
    assert difference(torch.zeros(2), torch.zeros(2, 1)) == "shape (2,) for (2, 1)"
    assert difference(torch.zeros(2), torch.zeros(2).double()) == "torch.float32 for torch.float64"


def test_the_floor_is_a_few_units_in_the_last_place() -> None:
    eps = torch.finfo(torch.float32).eps
    assert eps < rounding_error(torch.float32, "norm") < rounding_error(torch.float32, "peak")
    assert rounding_error(torch.float32, "peak") < 1e-5
    assert rounding_error(torch.int64, "norm") == 0.0
    whole = rounding_errors(torch.ones(3, dtype=torch.int64), torch.int64, bounded=True)
    assert whole == {"norm": 0.0, "peak": 0.0}
