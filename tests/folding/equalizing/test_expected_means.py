"""The mean of what a layer reads, by its norms, is that of numbers drawn as the norms say."""

from collections.abc import Callable, Set
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.folding.equalizing.expected_means import expected_inputs
from bnconvert.graphs.aten import aten
from tests.excerpts import capture_of
from tests.zoo import IMAGE, trained

LAYERS = frozenset({aten.conv2d.default, aten.linear.default})


class Network(nn.Module):
    """Two normed convolutions, then what is tested, then a layer that reads it."""

    def __init__(self, between: Callable[[Tensor, Tensor], Tensor], last: nn.Module) -> None:
        super().__init__()
        self.between, self.last = between, last
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.first, self.second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.between(self.first(self.one(x)), self.second(self.two(x))))
        return y


def expected(network: Network, layers: Set[Any] = LAYERS) -> Tensor | None:
    found = expected_inputs(capture_of(trained(network), IMAGE).module, frozenset(layers))
    return next(reversed(found.values()), None)


def drawn(network: Network) -> Tensor:
    """Return the mean of the last layer's input channels where the norms' outputs are normal."""
    generator = torch.Generator().manual_seed(0)
    values = []
    for norm in (network.first, network.second):
        noise = torch.randn(2_500, 4, 4, 4, generator=generator)
        values.append(norm.bias.reshape(1, 4, 1, 1) + norm.weight.reshape(1, 4, 1, 1) * noise)
    between = network.between(*values)
    return between.movedim(1, 0).flatten(1).mean(1).detach()


@pytest.mark.parametrize(
    "between",
    [
        lambda x, _: x,
        lambda x, _: F.relu(x),
        lambda x, _: F.relu6(x),
        lambda x, _: F.hardtanh(x, -0.5, 0.25),
        lambda x, _: F.leaky_relu(x, 0.3),
        lambda x, _: F.silu(x),
        lambda x, _: F.gelu(x),
        lambda x, y: x + F.relu(y),
        lambda x, y: F.relu(x - y),
        lambda x, y: F.silu(x) + F.relu(F.relu(x) + y),
        lambda x, _: F.avg_pool2d(F.relu(x), 2),
        lambda x, _: F.avg_pool2d(F.relu(x), 3, padding=1, count_include_pad=False),
    ],
)
def test_it_is_the_mean_of_normal_numbers_that_went_the_same_way(
    between: Callable[[Tensor, Tensor], Tensor],
) -> None:
    network = Network(between, nn.Conv2d(4, 2, 1))
    mean = expected(network)
    assert mean is not None
    torch.testing.assert_close(mean.float(), drawn(network), rtol=0.05, atol=0.05)


def test_padding_is_left_out_of_account_as_in_a_convolution_that_pads() -> None:
    padded = Network(lambda x, _: F.pad(F.relu(x), (1, 1, 1, 1)), nn.Conv2d(4, 2, 3))
    plain = Network(lambda x, _: F.relu(x), nn.Conv2d(4, 2, 3))
    mean = expected(padded)
    assert mean is not None
    torch.testing.assert_close(mean, expected(plain))
    channels = Network(lambda x, _: F.pad(x, (0, 0, 0, 0, 0, 2)), nn.Conv2d(6, 2, 1))
    assert expected(channels) is None


def test_averages_and_flattening_keep_it() -> None:
    network = Network(lambda x, _: F.relu(x).mean((2, 3)), nn.Linear(4, 2))
    pooled = Network(lambda x, _: F.adaptive_avg_pool2d(F.relu(x), 1).flatten(1), nn.Linear(4, 2))
    viewed = Network(lambda x, _: x.mean((2, 3), True).view(x.shape[0], 4), nn.Linear(4, 2))
    for each in (network, pooled, viewed):
        mean = expected(each)
        assert mean is not None
        torch.testing.assert_close(mean.float(), drawn(each), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "between",
    [
        lambda x, y: x * torch.sigmoid(y),
        lambda x, _: F.max_pool2d(x, 2),
        lambda x, _: F.relu(F.avg_pool2d(x, 2)),
        lambda x, _: x.transpose(1, 2).reshape(x.shape),
        lambda x, _: F.relu(x + x),
        lambda x, _: torch.sub(x, x, alpha=1.5),
        lambda x, _: F.avg_pool2d(x, 3, padding=1),
        lambda x, _: F.avg_pool2d(x, 2, divisor_override=1),
        lambda x, _: F.relu(x).clamp(max=x.shape[0]),
    ],
)
def test_what_the_norms_do_not_tell_is_not_guessed(
    between: Callable[[Tensor, Tensor], Tensor],
) -> None:
    assert expected(Network(between, nn.Conv2d(4, 2, 1))) is None


@pytest.mark.parametrize(
    "between",
    [
        lambda x, _: F.adaptive_avg_pool2d(x, 4),
        lambda x, _: F.adaptive_avg_pool2d(x, 4).mean(1).mean(-1),
        lambda x, _: F.adaptive_avg_pool2d(x, 4).mean((-3, 3)),
        lambda x, _: F.avg_pool1d(x.mean((2, 3)), 3, 1, 1, count_include_pad=False),
        lambda x, _: x.mean((2, 3)).mean(0),
    ],
)
def test_a_linear_layer_that_reads_another_axis_than_the_norms_is_not_known(
    between: Callable[[Tensor, Tensor], Tensor],
) -> None:
    assert expected(Network(between, nn.Linear(4, 2)), {aten.linear.default}) is None


def test_an_input_of_the_model_is_not_known() -> None:
    assert expected_inputs(capture_of(nn.Conv2d(3, 4, 3), IMAGE).module, LAYERS) == {}
