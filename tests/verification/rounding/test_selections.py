"""Positions are compared by the values that lie there: ties may be ordered in any way."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.verification.cases import Case
from bnconvert.verification.references.reference import Reference
from bnconvert.verification.rounding.perturbation import Roundings
from bnconvert.verification.rounding.selections import Selections, TiesInOrder
from bnconvert.verification.tolerance import Answers, Tolerance
from bnconvert.verification.verdict import Judge

Function = Callable[[Tensor], Tensor | tuple[Tensor, ...]]
X = torch.tensor([[3.0, -1.0, 1.0, -2.0, -3.0, 2.0], [-1.0, 5.0, -4.0, 1.0, -2.0, -9.0]])


class Choosing(nn.Module):
    """Something is chosen from the outputs of a ReLU, of which many are zero."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.function(x.relu())


def passes(function: Function, outputs: Sequence[Tensor]) -> bool:
    """Judge outputs of a file."""
    reference, case = Reference(Choosing(function).eval()), Case("one", Example.of((X,)), (), True)
    answers: dict[Case, Answers] = {case: reference.answers(case.example)}
    tolerance = Tolerance.of(answers.values())
    names = [f"y{index}" for index in range(len(outputs))]
    judge = Judge(names, answers, tolerance, lambda c: reference.perturbed_outputs(c.example))
    return not judge.judge({case: list(outputs)}).fails(case)


#: What is chosen, a file's positions that are right though in another order, and wrong ones.
POSITIONS: dict[str, tuple[Function, Any, Any]] = {
    "topk": (
        lambda y: y.topk(4).indices,
        [[0, 5, 2, 4], [1, 3, 5, 4]],
        [[0, 2, 5, 4], [1, 3, 5, 4]],
    ),
    "topk, the same twice": (
        lambda y: y.topk(5).indices,
        [[0, 5, 2, 4, 3], [1, 3, 5, 4, 2]],
        [[0, 5, 2, 4, 4], [1, 3, 5, 5, 5]],
    ),
    "argsort": (
        lambda y: y.argsort(1, descending=True),
        [[0, 5, 2, 4, 1, 3], [1, 3, 2, 5, 0, 4]],
        [[5, 0, 2, 4, 1, 3], [1, 3, 2, 5, 0, 4]],
    ),
    "sort along the other axis": (
        lambda y: y.sort(0).indices,
        [[1, 0, 1, 0, 1, 1], [0, 1, 0, 1, 0, 0]],
        [[0, 0, 1, 0, 1, 1], [1, 1, 0, 1, 0, 0]],
    ),
    "a slice of argsort": (
        lambda y: y.argsort(1, descending=True)[:, 1:4],
        [[5, 2, 4], [3, 2, 5]],
        [[5, 4, 2], [3, 2, 5]],
    ),
    "argmin": (lambda y: y.argmin(1), [4, 5], [4, 3]),
    "min with its position": (lambda y: y.min(1).indices, [3, 2], [3, 1]),
    "argmin of all": (lambda y: y.argmin(), 10, 7),
    "kthvalue": (lambda y: y.kthvalue(2).indices, [4, 5], [4, 3]),
}


@pytest.mark.parametrize("name", POSITIONS)
def test_other_positions_of_equal_values_are_right_and_of_other_values_wrong(name: str) -> None:
    function, right, wrong = POSITIONS[name]
    assert passes(function, [torch.tensor(right)])
    assert not passes(function, [torch.tensor(wrong)])


@pytest.mark.parametrize("positions", [[[0, 5, 2, 6], [1, 3, 0, 2]], [[0, 5, 2, -2], [1, 3, 0, 2]]])
def test_positions_out_of_range_are_wrong(positions: list[list[int]]) -> None:
    assert not passes(lambda y: y.topk(4).indices, [torch.tensor(positions)])


def _gathered(y: Tensor) -> Tensor:
    return (y - 7).gather(1, y.topk(4).indices) + torch.arange(6.0).expand(2, 6).gather(
        1, y.topk(4).indices
    )


#: What is computed from positions.
DERIVED: dict[str, Function] = {
    "other values at them": _gathered,
    "a cast": lambda y: y.topk(4).indices.to(torch.int32),
    "arithmetic": lambda y: y.argsort(1, descending=True) // 2 + 1,
    "both results": lambda y: tuple(y.topk(5)),
}


@pytest.mark.parametrize("name", DERIVED)
def test_what_is_computed_from_positions_may_order_ties_as_onnx_does(name: str) -> None:
    model = Choosing(DERIVED[name]).eval()
    with TiesInOrder(), Roundings() as watch:
        found = model(X)
    assert watch.orders_ties
    outputs = [found] if isinstance(found, Tensor) else list(found)
    assert passes(DERIVED[name], outputs)
    assert not passes(DERIVED[name], [outputs[0] + 1, *outputs[1:]])


def test_ties_in_order_are_lower_positions_first() -> None:
    y = torch.tensor([[0.0, 1.0, 0.0, 2.0, 0.0, 1.0]])
    with TiesInOrder():
        assert y.topk(4).indices.tolist() == [[3, 1, 5, 0]]
        assert y.topk(4, largest=False).indices.tolist() == [[0, 2, 4, 1]]
        assert y.argsort().tolist() == [[0, 2, 4, 1, 5, 3]]
        assert y.sort(1, descending=True).values.tolist() == [[2.0, 1.0, 1.0, 0.0, 0.0, 0.0]]


def test_positions_are_known_in_some_rows_of_a_batch() -> None:
    with Selections() as choices:
        outputs = [torch.relu(X).topk(4).indices, X * 2]
    (index,) = found = choices.among(outputs)
    assert index == 0
    last = found[0].of_rows([1])
    assert last.with_ties(torch.tensor([[1, 3, 5, 4]]), outputs[0][1:]).tolist() == [[1, 3, 5, 4]]


def test_a_right_file_of_a_ranking_is_proven_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ranking = nn.Sequential(nn.Linear(6, 40), nn.BatchNorm1d(40), nn.ReLU()).eval()

    class Ranked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = ranking

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.features(x)
            return y.argsort(1, descending=True), y.topk(30).indices % 7

    model, path, x = Ranked().eval(), tmp_path / "m.onnx", torch.randn(3, 6)
    assert bnc.export(model, (x,), path).failures == ()
    file = onnx.load(path)
    for weight in file.graph.initializer:
        array = onnx.numpy_helper.to_array(weight)
        if array.ndim == 2:
            weight.CopyFrom(onnx.numpy_helper.from_array(-array, weight.name))
    onnx.save(file, path)
    with pytest.raises(bnc.VerificationError):
        bnc.verify(model, path, (x,))
