"""Perturbed runs draw the roundings that a right file may make otherwise, and nothing larger."""

from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.graphs.example import Example
from bnconvert.verification.references.model_outputs import outputs_of
from bnconvert.verification.rounding import perturbation
from bnconvert.verification.rounding.perturbation import (
    PerturbedRows,
    PerturbedRuns,
    rounded_anew,
    roundings_of,
)

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
    assert roundings_of(Cast(), example, outputs_of).eps == torch.finfo(dtype).eps
    (truth,) = outputs_of(Cast(), example)
    assert all((outputs[0] != truth).all() for outputs in runs(Cast(), example))


def test_a_model_that_refuses_perturbed_inputs_has_no_runs() -> None:
    class Strict(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.max() > 1:
                raise ValueError("inputs are at most 1")
            return x

    assert list(runs(Strict(), Example.of((torch.ones(2),)))) == []


def test_rows_of_perturbed_runs_are_those_of_the_batch_which_runs_once() -> None:
    calls = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(0)
            return x * 2

    whole = runs(Counting(), Example.of((torch.arange(4.0).reshape(4, 1),)))
    parts = [PerturbedRows(whole, rows, size=4) for rows in ([0], [1, 3])]
    for part in (*parts, *parts):
        assert [len(outputs[0]) for outputs in part] == [len(part.rows)] * 3
    assert len(calls) == 4, "one to find the precision, and three runs"
    for outputs, (single, pair) in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(outputs[0][[0]], single[0])
        assert torch.equal(outputs[0][[1, 3]], pair[0])


def test_a_run_whose_output_has_other_rows_counts_for_nothing() -> None:
    class Chosen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[x > 1]

    whole = runs(Chosen(), Example.of((torch.tensor([1.0, 2.0, 3.0]),)), count=8)
    kept = sum(len(outputs[0]) == 2 for outputs in whole)
    assert 0 < kept < 8
    assert len(list(PerturbedRows(whole, [0, 1], size=2))) == kept


def test_what_is_known_of_the_roundings_is_not_found_out_again() -> None:
    calls = []

    class Sorting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(0)
            return x.sort(dim=-1).values

    example = Example.of((torch.zeros(2, 3),))
    known = roundings_of(Sorting(), example, outputs_of)
    assert known.orders_ties
    assert known.eps == EPS
    calls.clear()
    found = PerturbedRuns(Sorting(), example, outputs_of, units=4, count=2, roundings=known)
    assert len(list(found)) == 3, "and one with ties in order"
    assert len(calls) == 3


def test_the_draws_are_the_same_each_time_and_take_none_of_the_users_random_numbers() -> None:
    example = Example.of((torch.randn(2, 4),))
    model = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Dropout())
    state = torch.get_rng_state()
    first = [outputs[0] for outputs in runs(model, example)]
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(1)
    assert all(map(torch.equal, first, (outputs[0] for outputs in runs(model, example))))


def test_a_forward_is_only_observed_where_it_sorts_or_kernels_approximate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entered: list[str] = []
    for name in ("ApproximatedKernels", "TiesInOrder"):
        kind = getattr(perturbation, name)

        def noted(*given: Any, kind: type = kind) -> Any:
            entered.append(kind.__name__)
            return kind(*given)

        monkeypatch.setattr(perturbation, name, noted)
    example = Example.of((torch.randn(2, 4),))
    layers = nn.Linear(4, 3), nn.Hardswish()
    plain = list(runs(nn.Sequential(*layers), example))
    assert entered == []
    known = roundings_of(nn.Sequential(*layers), example, outputs_of)
    known.approximates = True  # as if: the draws are the same
    model = nn.Sequential(*layers)
    found = PerturbedRuns(model, example, outputs_of, units=4, count=3, roundings=known)
    assert all(map(torch.equal, (o[0] for o in plain), (o[0] for o in found)))
    assert entered == ["ApproximatedKernels"] * 3
    list(runs(nn.Sequential(nn.Linear(4, 3), nn.Sigmoid()), example, count=1))
    list(runs(nn.Sequential(nn.Linear(4, 3), Ranked()), example, count=1))
    assert entered[3:] == ["ApproximatedKernels", "TiesInOrder", "TiesInOrder"]


class Ranked(nn.Module):
    """Sorts."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sort(dim=-1).values


def test_weights_below_float32_are_off_as_much_as_rounded_ones_and_come_back() -> None:
    half, single = nn.Linear(64, 64).half(), nn.Linear(64, 64)
    model = nn.Sequential(half, single)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    scaled = half.weight.double() * 1.37  # as a fold makes them, which are rounded then
    rounding = (scaled.half().double() - scaled).norm() / scaled.norm()
    with rounded_anew(model):
        other = half.weight.detach().double()
        assert torch.equal(single.weight, before[2])
    moved = (other - before[0].double()).norm() / before[0].double().norm()
    assert 0.5 * rounding < moved < 2 * rounding
    assert all(map(torch.equal, model.parameters(), before))
