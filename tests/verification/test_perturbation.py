"""Perturbed runs draw the roundings that a right file may make otherwise, and nothing larger."""

from itertools import islice

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.graphs.example import Example
from bnconvert.verification.perturbation import PerturbedRuns, coarsest_eps
from bnconvert.verification.reference import outputs_of

EPS = torch.finfo(torch.float32).eps


def runs(model: nn.Module, example: Example, count: int = 3) -> PerturbedRuns:
    return PerturbedRuns(model.eval(), example, outputs_of, units=4, count=count)


class Embedded(nn.Module):
    """Its inputs are integers, so that only its weights can be perturbed."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.table(x))
        return y


@pytest.mark.parametrize(
    ("model", "inputs"),
    [(nn.Linear(4, 3), torch.randn(2, 4)), (Embedded(), torch.tensor([[1, 2], [3, 4]]))],
)
def test_each_run_differs_by_a_few_roundings(model: nn.Module, inputs: Tensor) -> None:
    example = Example.of((inputs,))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (truth,) = outputs_of(model, example)
    found = [outputs[0] for outputs in runs(model, example)]
    assert len(found) == 3
    for one in found:
        assert 0 < (one - truth).abs().max() < 100 * EPS
    assert not torch.equal(found[0], found[1])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_they_are_computed_when_asked_for_and_once() -> None:
    calls = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(0)
            return x * 2

    found = runs(Counting(), Example.of((torch.ones(2),)))
    assert calls == []
    first = list(islice(found, 2))
    after = len(calls)
    again = list(islice(found, 2))
    assert len(calls) == after == 3, "one to find the precision, and two runs"
    assert all(one is two for one, two in zip(first, again, strict=True))


@pytest.mark.parametrize(
    "function", [torch.sigmoid, torch.tanh, F.silu, F.gelu, F.mish, torch.sigmoid_]
)
def test_values_that_kernels_approximate_move_by_units_of_their_range(
    function: torch.nn.Module,
) -> None:
    class Approximated(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = function(x)
            return result

    x = torch.full((100,), -12.0)
    (truth,) = outputs_of(Approximated(), Example.of((x,)))
    (moved,) = (o[0] for o in islice(runs(Approximated(), Example.of((x,))), 1))
    assert EPS < (moved - truth).abs().max() < 100 * EPS


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_steps_are_as_large_as_the_lowest_precision_so_that_no_cast_swallows_them(
    dtype: torch.dtype,
) -> None:
    class Cast(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.to(dtype).float() * 2

    example = Example.of((torch.full((8,), 1.25),))
    assert coarsest_eps(Cast(), example, outputs_of) == torch.finfo(dtype).eps
    (truth,) = outputs_of(Cast(), example)
    assert all((outputs[0] != truth).all() for outputs in runs(Cast(), example))


def test_a_model_that_refuses_perturbed_inputs_has_no_runs() -> None:
    class Strict(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.max() > 1:
                raise ValueError("inputs are at most 1")
            return x

    assert list(runs(Strict(), Example.of((torch.ones(2),)))) == []


def test_the_draws_are_the_same_each_time_and_take_none_of_the_users_random_numbers() -> None:
    example = Example.of((torch.randn(2, 4),))
    model = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Dropout())
    state = torch.get_rng_state()
    first = [outputs[0] for outputs in runs(model, example)]
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(1)
    assert all(map(torch.equal, first, (outputs[0] for outputs in runs(model, example))))
