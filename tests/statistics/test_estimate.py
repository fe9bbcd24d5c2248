import pytest
import torch

from bnconvert.statistics.estimate import ENOUGH, measure


def test_values_are_measured_per_channel_in_float64() -> None:
    x = torch.randn(7, 3, 4, 5) * 3 + 2
    found = measure(x, 0)
    assert (found.batches, found.samples, found.moments.count) == (1, 7, 7 * 20)
    torch.testing.assert_close(found.moments.mean, x.double().mean((0, 2, 3)))
    torch.testing.assert_close(
        found.variance("population"), x.double().var((0, 2, 3), correction=0)
    )
    torch.testing.assert_close(found.variance("unbiased"), x.double().var((0, 2, 3)))


def test_channels_last_rows_and_views_are_measured_as_exactly() -> None:
    """torch's own training kernel adds these in float32, one after another."""
    x = torch.randn(64, 8, 40, 40) + 30
    wanted = x.double().mean((0, 2, 3)), x.double().var((0, 2, 3), correction=0)
    rows, last = x.movedim(1, -1).reshape(-1, 8), x.to(memory_format=torch.channels_last)
    for laid in (x, last, rows, x.transpose(2, 3)):
        found = measure(laid, 0)
        assert ((found.moments.mean - wanted[0]).abs() < 3e-5).all()
        assert ((found.variance("population") / wanted[1] - 1).abs() < 3e-5).all()
    theirs, _ = torch.batch_norm_update_stats(last, torch.zeros(8), torch.zeros(8), 0.0)
    assert ((theirs - wanted[0]).abs() > 1e-4).any()


def test_two_batches_merge_to_the_measure_of_both() -> None:
    x = torch.randn(20, 3, 4, dtype=torch.float64)
    both, whole = measure(x[:5], 0).merge(measure(x[5:], 5)), measure(x, 0)
    assert (both.batches, both.samples) == (2, 20)
    torch.testing.assert_close(both.moments.M2, whole.moments.M2)
    torch.testing.assert_close(both.images.M2, whole.images.M2)


def test_nan_infinity_and_overflow_are_seen() -> None:
    assert measure(torch.randn(4, 3), 0).is_finite
    for value in (float("nan"), float("inf"), 1e30):
        x = torch.randn(4, 3)
        x[1, 2] = value
        assert not measure(x, 0).is_finite


def test_one_value_per_channel_in_every_batch_is_seen() -> None:
    one = measure(torch.randn(1, 3), 0)
    assert one.has_single_values
    assert one.merge(measure(torch.randn(1, 3), 1)).has_single_values
    assert not one.merge(measure(torch.randn(2, 3), 1)).has_single_values
    assert not measure(torch.randn(1, 3, 2), 0).has_single_values


def test_an_empty_input_counts_nothing() -> None:
    for shape in ((0, 3, 4, 4), (2, 3, 0, 4)):
        found = measure(torch.empty(shape), 0)
        assert (found.batches, found.samples, found.moments.count) == (0, 0, 0)
        assert found.is_finite
        assert not found.has_single_values
        assert found.standard_error() is None


def test_the_error_is_that_of_independent_values_where_they_are() -> None:
    x = torch.randn(512, 5)
    found = measure(x[:32], 0).merge(measure(x[32:], 32))
    assert found.image_share() == pytest.approx(1, abs=0.3)
    assert found.standard_error() == pytest.approx(512**-0.5, rel=0.2)
    assert found.enough_samples() == pytest.approx(1 / ENOUGH**2, rel=0.4)
    assert measure(torch.zeros(8, 3), 0).image_share() is None
    assert measure(x, 32).standard_error() is None  # the first samples tell
