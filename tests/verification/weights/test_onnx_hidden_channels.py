"""Weights that were not seen are the reference's, if one of its operators has the same."""

import pytest
import torch

from bnconvert.verification.weights.onnx_hidden_channels import UnseenChannels
from bnconvert.verification.weights.onnx_linear_operators import LinearOperator

EPS = float(torch.finfo(torch.float32).eps)


def linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> LinearOperator:
    return LinearOperator(0, "x", "y", 1, 1, weight, bias)


def of(linear: LinearOperator, read: int | None, written: int | None) -> UnseenChannels:
    """Return one input channel, one output channel, or both as unseen."""
    read, written = (-1 if place is None else place for place in (read, written))
    places = torch.arange(linear.channels), torch.arange(len(linear.weight))
    return UnseenChannels(linear, places[0] == read, places[1] == written)


WEIGHT = torch.randn(6, 4, 9, generator=torch.Generator().manual_seed(0))
BIAS = torch.arange(6.0)
GAIN = torch.linspace(0.5, 2, 6)[:, None, None]


def changed(*place: int, by: float) -> torch.Tensor:
    weight = (WEIGHT * GAIN).clone()
    weight[place] += by
    return weight


def test_a_norm_that_was_folded_scales_outputs() -> None:
    right, folded = linear(WEIGHT), linear((WEIGHT.double() * GAIN).float())
    assert of(folded, 2, None).are_those_of(right, EPS)


@pytest.mark.parametrize("place", [(0, 2, 0), (5, 2, 8), (3, 1, 4)])
def test_one_number_that_is_another_is_noticed(place: tuple[int, ...]) -> None:
    wrong = of(linear(changed(*place, by=1e-4)), 2, None)
    assert not wrong.are_those_of(linear(WEIGHT), EPS)


def test_a_scale_that_nothing_has_shown_is_not_believed() -> None:
    hidden = of(linear(WEIGHT * GAIN, BIAS), None, 0)
    assert not hidden.are_those_of(linear(WEIGHT, BIAS / GAIN[:, 0, 0]), EPS)


def test_the_bias_of_a_hidden_channel_counts_too() -> None:
    right = linear(WEIGHT, BIAS)
    assert of(linear(WEIGHT, BIAS.clone()), None, 3).are_those_of(right, EPS)
    other = BIAS.clone()
    other[3] = -7.0
    assert not of(linear(WEIGHT, other), None, 3).are_those_of(right, EPS)


def test_a_bias_in_which_shift_and_mean_cancel_out_is_rounded_as_these_were() -> None:
    """Torch's own fold and ours differ there by thousands of units in the last place."""
    shift, mean, gain = (torch.full((6,), number) for number in (3.0, 1.5, 2.0))
    scale = (gain + torch.linspace(-1e-4, 1e-4, 6)).double()
    exact = (shift.double() - mean.double() * scale).float()
    rounded = shift - mean * scale.float()
    bias, other = (torch.cat([own[:5], shift[:1]]) for own in (exact, rounded))
    assert float(((bias - other).abs() / bias.abs().clamp(min=1e-30)).max()) > 100 * EPS
    right = linear(torch.ones(6, 4, 1), other)
    assert of(linear(torch.ones(6, 4, 1), bias), None, 0).are_those_of(right, EPS)


def test_a_share_is_said_of_each_side() -> None:
    assert str(of(linear(WEIGHT), 1, None)) == "1 of 4 input channels"
    assert str(of(linear(WEIGHT), 1, 0)) == "1 of 4 input and 1 of 6 output channels"
    assert not of(linear(WEIGHT), None, None)
