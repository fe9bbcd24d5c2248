import pytest
import torch

from bnconvert.numerics.bootstrap import mean_interval


def test_the_interval_is_that_of_a_naive_bootstrap() -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(30, generator=generator, dtype=torch.float64)
    weights = torch.rand(30, generator=generator, dtype=torch.float64) + 0.5
    means = []
    for _ in range(4000):
        drawn = torch.randint(30, (30,), generator=generator)
        means.append(float((values[drawn] * weights[drawn]).sum() / weights[drawn].sum()))
    means.sort()
    found = mean_interval(values, weights)
    assert found is not None
    assert found == pytest.approx((means[20], means[-20]), abs=0.08)


def test_it_holds_the_true_mean_about_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(200, 20, generator=generator) ** 2
    found = [mean_interval(values, torch.ones(20)) for values in drawn]
    missed = sum(interval is None or not interval[0] < 1 < interval[1] for interval in found)
    assert missed < 20  # of 200: few and skewed values, for which a percentile interval is short


def test_it_is_the_same_again_and_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    values = torch.arange(9.0)
    assert mean_interval(values, torch.ones(9)) == mean_interval(values, torch.ones(9))
    assert torch.equal(torch.get_rng_state(), before)


def test_too_few_or_infinite_values_have_none() -> None:
    assert mean_interval(torch.arange(7.0), torch.ones(7)) is None
    assert mean_interval(torch.tensor([float("inf"), *range(8)]), torch.ones(9)) is None


def test_many_values_have_the_interval_that_their_spread_gives() -> None:
    values = torch.randn(5000, generator=torch.Generator().manual_seed(0)) * 3 + 10
    found = mean_interval(values, torch.ones(5000))
    assert found is not None
    error = 2.576 * 3 / 5000**0.5
    assert found == pytest.approx(
        (float(values.mean()) - error, float(values.mean()) + error), abs=0.03
    )
