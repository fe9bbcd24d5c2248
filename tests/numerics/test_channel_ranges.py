import torch

from bnconvert.numerics.channel_ranges import balancing_factors, probe_factors, probed_ranges
from bnconvert.numerics.linear_maps import transposed_with_output_map


def test_a_probe_finds_the_channels_of_any_layout() -> None:
    weight = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(0)).double()
    probe = probe_factors(4)
    scaled, _ = transposed_with_output_map(weight, None, probe, torch.zeros(4), groups=2)
    wanted = [weight[3 * (i // 2) : 3 * (i // 2) + 3, i % 2].abs().max() for i in range(4)]
    torch.testing.assert_close(probed_ranges(weight, scaled, 4), torch.stack(wanted))


def test_a_probe_tells_many_channels_apart_and_overflows_nothing() -> None:
    channels = 2**16
    weight = torch.full((channels,), 65504.0).double()
    scaled = weight * probe_factors(channels)
    assert bool((probed_ranges(weight, scaled, channels) == 65504).all())
    assert bool(torch.isfinite(scaled.half()).all())


def test_a_channel_without_numbers_has_range_0_and_factor_1() -> None:
    weight = torch.tensor([[0.0, 0.0], [3.0, -4.0]]).double()
    scaled = weight * probe_factors(2)[:, None]
    ranges = probed_ranges(weight, scaled, 2)
    assert ranges.tolist() == [0, 4]
    assert balancing_factors(ranges, torch.tensor([1.0, 1.0]).double()).tolist() == [1, 2]


def test_balanced_ranges_are_equal() -> None:
    first, second = torch.tensor([1e-3, 5.0]).double(), torch.tensor([2.0, 0.1]).double()
    factors = balancing_factors(first, second)
    torch.testing.assert_close(first / factors, second * factors)
