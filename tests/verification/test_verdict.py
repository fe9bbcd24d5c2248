"""A run is judged by what was computed alone: no order of outputs or cases changes a verdict."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bnconvert.graphs.example import Example
from bnconvert.verification.agreement import Outputs
from bnconvert.verification.cases import Case
from bnconvert.verification.references.model_outputs import outputs_of
from bnconvert.verification.rounding.perturbation import PerturbedRuns
from bnconvert.verification.tolerance import Answers, Tolerance
from bnconvert.verification.verdict import Judge, Judgement

RIGHT, TIE = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 30.0])
WRONG = torch.tensor([1.0, -2.0, 3.0])


def case(name: str) -> Case:
    return Case(name, Example.of((RIGHT,)), (), True)


def judge(cases: Sequence[Case], outputs: int, asked: list[Case] | None = None) -> Judge:
    """Compare with a model whose every output is RIGHT or TIE, by rounding."""
    answers = {c: Answers([RIGHT.double()] * outputs, [RIGHT] * outputs) for c in cases}

    def perturbed(case: Case) -> Sequence[Sequence[Tensor]]:
        if asked is not None:
            asked.append(case)
        return [[TIE] * outputs]

    names = [f"y{index}" for index in range(outputs)]
    return Judge(names, answers, Tolerance.of(answers.values()), perturbed)


def verdicts(verdict: Judgement) -> Mapping[str, list[bool]]:
    return {case.name: [c.passed for c in checks] for case, checks in verdict.checks.items()}


def test_an_output_is_excused_where_the_model_itself_is_discontinuous() -> None:
    one = case("one")
    found = judge([one], 2).judge({one: [RIGHT, TIE]})
    assert all(verdicts(found)["one"])
    assert found.excused == {"y1"}


@pytest.mark.parametrize("outputs", list(itertools.permutations([RIGHT, TIE, WRONG])))
def test_an_output_is_judged_alike_wherever_it_stands(outputs: tuple[Tensor, ...]) -> None:
    one = case("one")
    found = judge([one], 3).judge({one: list(outputs)})
    passed = {
        name: all(check.passed for check in found.checks[one] if check.output == name)
        for name in ("y0", "y1", "y2")
    }
    assert passed == {f"y{index}": value is RIGHT for index, value in enumerate(outputs)}
    assert found.excused == frozenset(), "one failure is explained by nothing: none is excused"


def test_a_case_is_judged_alike_whichever_was_judged_before() -> None:
    cases = {"right": RIGHT, "tie": TIE, "wrong": WRONG}
    found = []
    for order in itertools.permutations(cases):
        run = {case(name): [cases[name]] for name in order}
        found.append(verdicts(judge(list(run), 1).judge(run)))
    assert all(one == found[0] for one in found)
    assert {name: all(passed) for name, passed in found[0].items()} == {
        "right": True,
        "tie": False,
        "wrong": False,
    }


def test_the_model_is_asked_again_only_where_something_fails() -> None:
    one, two, asked = case("one"), case("two"), list[Case]()
    judging = judge([one, two], 1, asked)
    judging.judge({one: [RIGHT], two: [RIGHT]})
    assert asked == []
    judging.judge({one: [WRONG], two: [TIE]})
    assert asked == [one], "nothing can excuse the run any more"


class Counted(nn.Module):
    """A layer, rounded if asked for, that counts its forwards."""

    def __init__(self, digits: int | None) -> None:
        super().__init__()
        self.layer, self.digits, self.calls = nn.Linear(3, 50), digits, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y: Tensor = self.layer(x)
        return y if self.digits is None else y.round(decimals=self.digits)


@pytest.mark.parametrize(
    ("digits", "off", "forwards"),
    [(None, 0.1, 7), (None, 1e-6, 33), (2, 0.1, 33)],
    ids=["far from a model that cannot jump", "near it", "far from one that may"],
)
def test_few_perturbed_runs_tell_that_a_model_without_jumps_comes_nowhere_near(
    digits: int | None, off: float, forwards: int
) -> None:
    torch.manual_seed(0)
    model, one = Counted(digits), case("one")
    with torch.no_grad():
        value = model(RIGHT)
    runs = PerturbedRuns(model, one.example, outputs_of, units=4, count=32)
    answers = {one: Answers([value.double()], [value])}
    tolerance = replace(Tolerance.of(answers.values()), given=1e-7)
    model.calls = 0
    judging = Judge(["y"], answers, tolerance, lambda case: runs)
    assert judging.judge({one: [value + off]}).fails(one)
    assert model.calls == forwards, "one is watched"


def test_a_run_that_fails_otherwise_excuses_nothing() -> None:
    one, two, three = case("one"), case("two"), case("three")
    run: dict[Case, Outputs] = {one: [TIE], two: "a kernel fails", three: [RIGHT, RIGHT]}
    found = judge([one, two, three], 1).judge(run)
    assert not any(passed for those in verdicts(found).values() for passed in those)
    assert [checks[0].detail for checks in found.checks.values()] == [
        "",
        "a kernel fails",
        "the file has 2 outputs, the model 1",
    ]
    assert all(found.fails(c) for c in run)


@pytest.mark.parametrize(
    ("value", "passes", "passes_in_another_precision"),
    [
        (RIGHT, True, True),
        (RIGHT.double(), False, True),
        (RIGHT.half(), False, True),
        (RIGHT.long(), False, False),
        (RIGHT[:, None], False, False),
        (torch.tensor([1.0, 2.0, float("nan")]), False, False),
    ],
)
def test_equal_numbers_of_another_kind_or_shape_are_wrong_unless_the_whole_file_is_cast(
    value: Tensor, passes: bool, passes_in_another_precision: bool
) -> None:
    one = case("one")
    alike = judge([one], 1)
    assert all(verdicts(alike.judge({one: [value]}))["one"]) == passes
    found = replace(alike, casts=True).judge({one: [value]})
    assert all(verdicts(found)["one"]) == passes_in_another_precision
    integers = replace(alike, answers={one: Answers([RIGHT.long()], [RIGHT.long()])}, casts=True)
    assert all(verdicts(integers.judge({one: [value]}))["one"]) == (value.dtype == torch.long)
