"""Norms that take their statistics from the batch are noticed, modules and functions alike."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.verification.references.batch_statistics import BatchStatistics

MEAN, VAR = torch.zeros(3), torch.ones(3)
X = torch.randn(4, 3, 5, 5)


def seen(function: Callable[[Tensor], Tensor]) -> bool:
    with BatchStatistics() as watch, torch.no_grad():
        function(X)
    return watch.seen


@pytest.mark.parametrize(
    "function",
    [
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(3, track_running_stats=False).eval(),
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: F.batch_norm(x, MEAN.clone(), VAR.clone(), None, None, True),
    ],
)
def test_statistics_of_the_batch_are_noticed(function: Callable[[Tensor], Tensor]) -> None:
    assert seen(function)


@pytest.mark.parametrize(
    "function",
    [
        nn.BatchNorm2d(3).eval(),
        nn.InstanceNorm2d(3),
        nn.GroupNorm(1, 3),
        lambda x: F.batch_norm(x.reshape(1, 12, 5, 5), None, None, training=True),
        lambda x: x - x.mean(0),
    ],
)
def test_all_others_are_not(function: Callable[[Tensor], Tensor]) -> None:
    assert not seen(function)
