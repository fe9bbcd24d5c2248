import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.norms.ghost import GhostNorm, ghost_bounds
from tests.submodules import submodule
from tests.zoo import trained

CLASSES = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
POSITIONS = {2: (), 3: (7,), 4: (4, 3), 5: (2, 3, 2)}


def ghost(size: int, dimensions: int = 4, **settings: Any) -> GhostNorm:
    converted = bnc.convert(trained(CLASSES[dimensions](5, **settings)), bnc.Ghost(size))
    return submodule(converted, "", GhostNorm).train()


def batch(samples: int, dimensions: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(samples)
    return torch.randn(samples, 5, *POSITIONS[dimensions], generator=generator) * 3 + 2


@pytest.mark.parametrize(
    ("dimensions", "size"), [(d, s) for d, s in itertools.product(CLASSES, (1, 2, 3, 5))]
)
def test_each_group_of_consecutive_samples_has_mean_0_and_variance_1(
    dimensions: int, size: int
) -> None:
    norm = ghost(size, dimensions, affine=False, eps=1e-12)
    x = batch(12, dimensions)
    y = norm(x)
    values = x[0, 0].numel()
    axes = tuple(a for a in range(dimensions) if a != 1)
    for first, end in ghost_bounds(12, size, values):
        group = y[first:end].double()
        torch.testing.assert_close(group.mean(axes), torch.zeros(5).double(), rtol=0, atol=1e-6)
        var = group.var(axes, unbiased=False)
        torch.testing.assert_close(var, torch.ones(5).double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("samples", "size", "values", "sizes"),
    [
        (12, 3, 9, [3, 3, 3, 3]),  # it divides
        (7, 3, 9, [3, 4]),  # a tail of one joins
        (8, 3, 9, [3, 3, 2]),  # a tail of two thirds stands
        (10, 4, 9, [4, 4, 2]),  # half stands
        (9, 4, 9, [4, 5]),
        (3, 8, 9, [3]),  # a batch smaller than a group
        (3, 1, 9, [1, 1, 1]),
        (4, 1, 1, [2, 2]),  # one value per sample: never a group of one
        (5, 2, 1, [2, 3]),  # whose half would be one value
        (1, 4, 1, [1]),
        (0, 4, 9, [0]),
    ],
)
def test_the_ragged_rest_is_merged_or_stands(
    samples: int, size: int, values: int, sizes: list[int]
) -> None:
    bounds = ghost_bounds(samples, size, values)
    assert [end - first for first, end in bounds] == sizes
    assert [first for first, _ in bounds] == [0, *itertools.accumulate(sizes)][:-1]


@pytest.mark.parametrize("dimensions", CLASSES)
@pytest.mark.parametrize("samples", [9, 3])
def test_groups_are_normalized_as_apart_with_gradients(dimensions: int, samples: int) -> None:
    norm, x = ghost(4, dimensions), batch(samples, dimensions).requires_grad_()
    gradient = torch.randn_like(x)
    y = norm(x)
    mine = torch.autograd.grad(y, [x, norm.weight, norm.bias], gradient)
    parts = []
    for first, end in ghost_bounds(samples, 4, x[0, 0].numel()):
        plain = nn.BatchNorm1d(5, eps=norm.eps).double()
        part = x[first:end].double().flatten(2).transpose(1, 2) if dimensions > 2 else x[first:end]
        flat = plain(part.double().reshape(-1, 5)).float()
        shaped = flat.reshape(end - first, -1, 5).transpose(1, 2).reshape(x[first:end].shape)
        parts.append(shaped)
    shape = (1, 5, *[1] * (dimensions - 2))
    expected = torch.cat(parts) * norm.weight.reshape(shape) + norm.bias.reshape(shape)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    theirs = torch.autograd.grad(expected, [x, norm.weight, norm.bias], gradient)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_one_group_is_batch_norm_to_the_bit() -> None:
    plain = trained(nn.BatchNorm2d(5)).train()
    norm, x = bnc.convert(plain, bnc.Ghost(32)), batch(8)
    assert torch.equal(norm(x), plain(x))
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(norm.get_buffer(name), buffer, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
def test_the_running_statistics_get_one_update_by_the_sample_weighted_average(
    momentum: float | None,
) -> None:
    norm, x = ghost(4, momentum=momentum), batch(9)
    mean, var = norm.get_buffer("running_mean").double(), norm.get_buffer("running_var").double()
    norm(x)
    groups = [(4, x[:4].double()), (5, x[4:].double())]  # a tail of one has joined
    share = 1 / 101 if momentum is None else momentum
    for name, before, measure in (
        ("running_mean", mean, lambda g: g.mean((0, 2, 3))),
        ("running_var", var, lambda g: g.var((0, 2, 3), unbiased=True)),
    ):
        average = sum(n / 9 * measure(group) for n, group in groups)
        expected = (1 - share) * before + share * average
        torch.testing.assert_close(norm.get_buffer(name).double(), expected, rtol=1e-5, atol=1e-6)
    assert norm.num_batches_tracked == 101


def test_eval_is_batch_norm_with_a_single_sample() -> None:
    plain = trained(nn.BatchNorm2d(5))
    x = batch(1)
    assert torch.equal(bnc.convert(plain, bnc.Ghost(4))(x), plain(x))


def test_channels_last_stays_channels_last() -> None:
    x = batch(8).to(memory_format=torch.channels_last)
    y = ghost(4)(x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, ghost(4)(x.contiguous()), rtol=1e-5, atol=1e-5)


def test_one_value_per_channel_is_refused_as_by_torch() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        ghost(4, 2)(batch(1, 2))


def test_a_wrong_size_is_refused_and_the_repr_shows_the_size() -> None:
    with pytest.raises(ValueError, match="size is 0; use a positive number of samples"):
        bnc.Ghost(0)
    assert repr(ghost(4)).startswith("GhostNorm(size=4, 5, eps=1e-05")
