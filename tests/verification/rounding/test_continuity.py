"""What compares, chooses, rounds or divides may jump; layers and activations cannot."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.graphs.example import Example
from bnconvert.verification.references.model_outputs import outputs_of
from bnconvert.verification.rounding.perturbation import PerturbedRows, PerturbedRuns, roundings_of

X = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


class Function(nn.Module):
    """Applies a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def may_jump(model: nn.Module) -> bool:
    with torch.no_grad():
        return roundings_of(model.eval(), Example.of((X,)), outputs_of).may_jump


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3), nn.Softmax(1)),
        nn.Sequential(nn.LayerNorm(8), nn.GELU(), nn.Upsample(scale_factor=2), nn.Dropout()),
        Function(lambda x: torch.cat([x.transpose(2, 3) / 2, F.silu(x + 1)[:, :2]], dim=1)),
        Function(lambda x: F.embedding(torch.arange(4), x[0, 0])),
    ],
)
def test_layers_activations_and_views_cannot_jump(model: nn.Module) -> None:
    assert not may_jump(model)


@pytest.mark.parametrize(
    "function",
    [
        torch.round,
        torch.sign,
        lambda x: x.argmax(1),
        lambda x: x.sort(dim=1).values[x > 0],
        lambda x: torch.where(x > 0, x, 1.0),
        lambda x: 1 / x,
        lambda x: x / x.sum(),
        lambda x: x.long().float(),
        lambda x: x + 1 if x.sum() > 0 else x,
        lambda x: x[:, x.mean().int()],
    ],
)
def test_what_compares_chooses_rounds_or_divides_may_jump(
    function: Callable[[Tensor], Tensor],
) -> None:
    assert may_jump(nn.Sequential(nn.Conv2d(4, 4, 1), Function(function)))


@pytest.mark.parametrize("function", [torch.relu, torch.round])
def test_runs_may_jump_until_a_forward_was_watched(function: Callable[[Tensor], Tensor]) -> None:
    model = Function(function)
    runs = PerturbedRuns(model, Example.of((X,)), outputs_of, units=4, count=2)
    assert runs.may_jump
    next(iter(runs))
    jumps = function is torch.round
    assert runs.may_jump == PerturbedRows(runs, [0], size=2).may_jump == jumps
