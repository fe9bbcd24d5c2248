import torch
from torch import Tensor

from bnconvert.numerics.batch_dependence import (
    share_between_batches,
    similarity_across_ends,
    similarity_in_batches,
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_shuffled_samples_depend_on_nothing() -> None:
    alarms = 0
    for seed in range(10):
        samples = noise(8, 16, 4, seed=seed)
        inside = similarity_in_batches(samples)
        between = share_between_batches(samples.flatten(0, 1), [16] * 8)
        alarms += inside.value > max(inside.chance, 0.25) or between.value > max(
            between.chance, 0.1
        )
        assert abs(between.value) < 0.1
        assert abs(similarity_across_ends(samples)) < 0.5
    assert alarms == 0


def test_groups_of_neighbors_correlate_by_their_share() -> None:
    """Groups of four: three of four neighbors are of one group, and share half of the variance."""
    samples = noise(16, 8, 1, 4).expand(-1, -1, 4, -1).reshape(16, 32, 4) + noise(16, 32, 4, seed=1)
    found = similarity_in_batches(samples)
    assert found.lag == 1
    assert abs(found.value - 3 / 8) < 0.1
    assert found.chance < 0.15
    assert similarity_across_ends(samples) < 0.3


def test_two_views_one_after_the_other_are_alike_at_half_of_the_batch() -> None:
    views = noise(8, 8, 4)
    found = similarity_in_batches(torch.cat([views, views], 1))
    assert found.lag == 8
    assert found.value > 0.99


def test_data_in_an_order_are_alike_across_the_ends_of_batches() -> None:
    steady = torch.linspace(-2, 2, 128, dtype=torch.float64)[:, None] + 0.5 * noise(128, 3)
    assert similarity_across_ends(steady.view(8, 16, 3)) > 0.8


def test_the_share_between_batches_is_that_of_their_own_means() -> None:
    """Means of variance 1 beside a variance of 3 within: a quarter."""
    samples = noise(200, 1, 3) + 3**0.5 * noise(200, 8, 3, seed=1)
    found = share_between_batches(samples.flatten(0, 1), [8] * 200)
    assert abs(found.value - 0.25) < 0.03
    assert found.chance < 0.05
    equal = noise(4, 1, 3).expand(-1, 5, -1).flatten(0, 1)
    assert share_between_batches(equal, [5] * 4).value > 0.999


def test_batches_of_any_sizes_and_constant_channels_are_compared() -> None:
    samples = noise(30, 2)
    samples[:, 1] = 7.0
    found = share_between_batches(samples, [20, 7, 3])
    assert abs(found.value) < found.chance
