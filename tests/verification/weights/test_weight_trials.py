"""Trials with other weights leave the model as it was."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from bnconvert.graphs.example import Example
from bnconvert.verification.weights.weight_trials import WeightTrials
from tests.zoo import trained


class Parts(nn.Module):
    """A layer behind a threshold, one behind a zero, one that is used, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.cut = nn.Linear(3, 3), nn.Linear(3, 3)
        self.scale = nn.Parameter(torch.zeros(3))
        self.used, self.unused = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.used(x) + self.scale * self.cut(x)
        return torch.where(self.hidden(x) > 1e9, 0.0, y)


X = Example.of((torch.randn(2, 3, generator=torch.Generator().manual_seed(0)),))


@pytest.fixture
def model() -> Iterator[nn.Module]:
    model = trained(Parts())
    nn.init.zeros_(model.get_parameter("scale"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    yield model
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_weights_that_no_module_uses_are_told_from_those_that_some_does(model: nn.Module) -> None:
    names = [name for name, _ in model.named_parameters()]
    assert WeightTrials(model, X).used(names) == {n for n in names if not n.startswith("unused")}
    assert WeightTrials(model, X).uses_any(names)
    assert not WeightTrials(model, X).uses_any({"unused.weight", "unused.bias"})


def test_weights_that_move_an_output_when_they_are_drawn_anew(model: nn.Module) -> None:
    names = ["used.weight", "hidden.weight", "cut.weight", "scale"]
    assert WeightTrials(model, X).moving_outputs(names) == {"used.weight", "scale"}
    assert WeightTrials(model, X).moving_outputs(names, but={0}) == set()


def test_weights_before_a_zero_matter_once_it_is_none(model: nn.Module) -> None:
    moving = WeightTrials(model, X).cut_by_zeros()
    assert {"cut.weight", "cut.bias", "used.weight"} <= moving
    assert not {"hidden.weight", "unused.weight"} & moving
