import pytest
import torch
from torch import Tensor

from bnconvert.numerics.moments import Moments, moments

SIZES = [2, 2, 4, 8, 16, 32, 64]


def naive(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population variance per channel, in float64, one value at a time."""
    channels = x.double().movedim(1, 0).flatten(1)
    mean = torch.stack([c.sum() / len(c) for c in channels])
    var = torch.stack([((c - m) ** 2).sum() / len(c) for c, m in zip(channels, mean, strict=True)])
    return mean, var


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3), (4, 5, 3, 2), (3, 5, 2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_moments_are_those_of_the_definition(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = (torch.randn(shape) * 2 + 3).to(dtype)
    measured, (mean, var) = moments(x), naive(x)
    assert measured.count == x.numel() // 5
    assert measured.mean.dtype is measured.M2.dtype is torch.float64
    torch.testing.assert_close(measured.mean, mean, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(measured.biased_variance(), var, rtol=1e-12, atol=1e-13)
    unbiased = x.double().movedim(1, 0).flatten(1).var(dim=1)
    torch.testing.assert_close(measured.unbiased_variance(), unbiased, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("center", "spread"), [(1e4, 0.1), (1e3, 0.1), (-1e6, 1.0)])
def test_a_large_mean_does_not_cancel_a_small_variance(center: float, spread: float) -> None:
    """fvcore's E[x^2] - E[x]^2 in float32 gives 0.0625 for a true 0.0101 at mean 1000."""
    x = (torch.randn(64, 4, 8, 8, dtype=torch.float64) * spread + center).float()
    mean, var = naive(x)
    parts = [moments(part) for part in x.split(7)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    for measured in (moments(x), merged):
        torch.testing.assert_close(measured.mean, mean, rtol=1e-14, atol=0)
        torch.testing.assert_close(measured.biased_variance(), var, rtol=1e-9, atol=0)


def test_unequal_batches_merge_to_the_moments_of_all_values() -> None:
    x = torch.randn(sum(SIZES) + 3, 4, 3) * torch.linspace(0.1, 9, sum(SIZES) + 3)[:, None, None]
    merged = Moments(0, torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64))
    for part in x.split([*SIZES, 3]):
        merged = merged.merge(moments(part))
    mean, var = naive(x)
    assert merged.count == x.shape[0] * 3
    torch.testing.assert_close(merged.mean, mean, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(merged.biased_variance(), var, rtol=1e-12, atol=1e-13)


def test_an_empty_batch_has_no_weight() -> None:
    some, none = moments(torch.randn(5, 3)), moments(torch.empty(0, 3, 2, 2))
    assert none.count == 0
    for merged in (some.merge(none), none.merge(some)):
        assert merged.count == 5
        assert torch.equal(merged.mean, some.mean)
        assert torch.equal(merged.M2, some.M2)
    assert none.merge(none).count == 0


def test_any_axis_can_be_the_channels_and_any_layout_will_do() -> None:
    x = torch.randn(4, 5, 6, 7)
    last = moments(x.movedim(1, -1), channel_axis=-1)
    laid = moments(x.to(memory_format=torch.channels_last))
    for other in (last, laid):
        torch.testing.assert_close(other.M2, moments(x).M2, rtol=1e-12, atol=0)


def test_the_input_is_not_part_of_a_graph() -> None:
    assert not moments(torch.randn(3, 2, requires_grad=True)).mean.requires_grad


def test_a_variance_that_is_undefined_is_refused() -> None:
    with pytest.raises(ValueError, match="variance of 0 values per channel is undefined; give"):
        moments(torch.empty(0, 3)).biased_variance()
    with pytest.raises(ValueError, match="variance of 1 values per channel is undefined; give"):
        moments(torch.randn(1, 3)).unbiased_variance()


def test_moments_of_different_norms_do_not_merge() -> None:
    with pytest.raises(ValueError, match="of 3 and of 4 channels do not merge; merge moments of"):
        moments(torch.randn(2, 3)).merge(moments(torch.randn(2, 4)))
