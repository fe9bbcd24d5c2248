import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.norms.renorm import RenormNorm
from tests.submodules import submodule
from tests.zoo import norm_with, trained

CLASSES = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
POSITIONS = {2: (), 3: (7,), 4: (4, 3), 5: (2, 3, 2)}
INFINITE = float("inf")


def batch(samples: int = 6, dimensions: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(samples)
    x = torch.randn(samples, 5, *POSITIONS[dimensions], generator=generator, dtype=torch.float64)
    return (x * 3 + 2).requires_grad_()


def renorm(policy: bnc.Renorm, dimensions: int = 4, **settings: Any) -> RenormNorm:
    converted = bnc.convert(trained(norm_with(CLASSES[dimensions], **settings)).double(), policy)
    return submodule(converted, "", RenormNorm).train()


def naive(norm: RenormNorm, x: Tensor, r_max: float, d_max: float) -> Tensor:
    """Algorithm 1 of the paper, with stop_gradient as detach."""
    axes = [a for a in range(x.dim()) if a != 1]
    shape = (1, -1, *[1] * (x.dim() - 2))
    mu_b = x.mean(axes)
    sigma_b = (x.var(axes, unbiased=False) + norm.eps).sqrt()
    sigma = (norm.get_buffer("running_var") + norm.eps).sqrt()
    r = (sigma_b / sigma).clamp(1 / r_max, r_max).detach()
    d = ((mu_b - norm.get_buffer("running_mean")) / sigma).clamp(-d_max, d_max).detach()
    x_hat = (x - mu_b.reshape(shape)) / sigma_b.reshape(shape) * r.reshape(shape) + d.reshape(shape)
    weight = 1 if norm.weight is None else norm.weight.reshape(shape)
    return weight * x_hat + (0 if norm.bias is None else norm.bias.reshape(shape))


@pytest.mark.parametrize(
    ("dimensions", "limits"), [*itertools.product(CLASSES, [(3.0, 5.0), (1.1, 0.2), (1.0, 0.0)])]
)
def test_it_is_the_papers_formula_with_its_gradients(
    dimensions: int, limits: tuple[float, float]
) -> None:
    norm, x = renorm(bnc.Renorm(*limits), dimensions), batch(dimensions=dimensions)
    gradient = torch.randn_like(x)
    expected = naive(norm, x, *limits)
    leaves = [x, norm.weight, norm.bias]
    theirs = torch.autograd.grad(expected, leaves, gradient)
    y = norm(x)
    torch.testing.assert_close(y, expected)
    for mine, other in zip(torch.autograd.grad(y, leaves, gradient), theirs, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("settings", [{"affine": False}, {"bias": False}, {"momentum": None}])
def test_it_needs_no_affine_and_no_momentum(settings: dict[str, Any]) -> None:
    norm, x = renorm(bnc.Renorm(), **settings), batch()
    expected = naive(norm, x, 3.0, 5.0)
    torch.testing.assert_close(norm(x), expected)


def test_limits_of_1_and_0_are_batch_norm_in_output_gradients_and_statistics() -> None:
    plain = trained(nn.BatchNorm2d(5)).double().train()
    norm, x = bnc.convert(plain, bnc.Renorm(1.0, 0.0)), batch()
    results = []
    for module in (norm, plain):
        y = module(x)
        results.append([y, *torch.autograd.grad(y.square().sum(), [x, *module.parameters()])])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(norm.get_buffer(name), buffer)


def test_without_limits_it_normalizes_by_the_running_statistics() -> None:
    plain = trained(nn.BatchNorm2d(5)).double()
    norm, x = bnc.convert(plain, bnc.Renorm(INFINITE, INFINITE)).train(), batch()
    torch.testing.assert_close(norm(x), plain(x))


def test_the_correction_has_no_gradient() -> None:
    norm, x = renorm(bnc.Renorm()), batch()
    mean = x.mean((0, 2, 3)).requires_grad_()
    r, d = norm.correction(mean[None], x.var((0, 2, 3))[None])
    assert not r.requires_grad
    assert not d.requires_grad


def test_the_warm_up_goes_from_batch_norm_to_the_limits_and_its_counter_is_saved() -> None:
    norm = renorm(bnc.Renorm(3.0, 5.0, warmup_steps=4))
    seen = []
    for _ in range(6):
        seen.append([float(limit) for limit in norm.limits()])
        norm(batch())
    grown = [0, 0.25, 0.5, 0.75, 1, 1]
    assert seen == [[1 + 2 * share, 5 * share] for share in grown]
    state = norm.state_dict()
    assert state["bnconvert.steps"] == 6
    fresh = renorm(bnc.Renorm(3.0, 5.0, warmup_steps=4))
    fresh.load_state_dict(state)
    assert [float(limit) for limit in fresh.limits()] == [3, 5]
    plain = {k: v for k, v in state.items() if "bnconvert" not in k}
    fresh.load_state_dict(plain)  # which knows nothing of steps
    assert fresh.state_dict()["bnconvert.steps"] == 6


def test_no_step_is_counted_where_no_statistics_are_updated() -> None:
    norm = renorm(bnc.Renorm(warmup_steps=4))
    with bnc.update_statistics(norm, False):
        norm(batch())
    norm.eval()(batch())
    assert norm.state_dict()["bnconvert.steps"] == 0


def test_the_update_comes_after_and_keeps_the_variance() -> None:
    norm, x = renorm(bnc.Renorm()), batch()
    expected = 0.9 * norm.get_buffer("running_var") + 0.1 * x.detach().var((0, 2, 3))
    norm(x)
    torch.testing.assert_close(norm.running_var, expected)


def test_one_sample_with_positions_is_enough_and_one_value_is_not() -> None:
    norm, x = renorm(bnc.Renorm()), batch(1)
    expected = naive(norm, x, 3.0, 5.0)
    torch.testing.assert_close(norm(x), expected)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        renorm(bnc.Renorm(), 2)(batch(1, 2))


def test_wrong_limits_are_refused() -> None:
    for wrong in ((0.5, 1.0, 0), (2.0, -1.0, 0), (2.0, 1.0, -1), (float("nan"), 0.0, 0)):
        with pytest.raises(ValueError, match="needs r_max of at least 1"):
            bnc.Renorm(*wrong)
    for limits in ((INFINITE, 1.0), (1.0, INFINITE), (INFINITE, INFINITE)):
        with pytest.raises(ValueError, match="cannot warm up to an infinite limit"):
            bnc.Renorm(*limits, 10)
    with pytest.raises(bnc.RefusedError, match="no running statistics to correct towards; use"):
        bnc.convert(nn.BatchNorm2d(3, track_running_stats=False), bnc.Renorm())
