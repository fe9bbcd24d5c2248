import pytest
import torch

from bnconvert.numerics.distance import MEASURES
from bnconvert.proving.budget import FACTOR, JUMP, Answers, Budget


def test_the_budget_is_some_times_the_largest_own_error_over_all_inputs() -> None:
    truth = [torch.ones(4, dtype=torch.float64)]
    small, large = [torch.full((4,), 1 + 1e-5)], [torch.full((4,), 1 + 1e-4)]
    budget = Budget.of([Answers(truth, small, small), Answers(truth, small, large)])
    for measure in MEASURES:
        assert budget.own[0, measure] == pytest.approx(1e-4, rel=1e-2)
        assert budget.allowed(0, measure) == pytest.approx(FACTOR * 1e-4, rel=2e-2)


def test_a_model_without_error_may_still_round() -> None:
    ones = [torch.ones(4)]
    assert 0 < Budget.of([Answers(ones, ones, ones)]).allowed(0, "norm") < 1e-5


def test_an_error_far_beyond_rounding_is_a_jump_and_widens_the_budget() -> None:
    truth = [torch.ones(4, dtype=torch.float64)] * 2
    near, far = torch.full((4,), 1 + 1e-5), torch.full((4,), 1.5)
    budget = Budget.of([Answers(truth, [near, near])])
    draws = [Answers(truth, [near, near]), Answers(truth, [near + (JUMP / 2) * 1e-5, far])]
    jumps = budget.jumps(draws)
    assert jumps == {(1, measure): pytest.approx(0.5) for measure in MEASURES}
    wider = budget.widened(jumps)
    assert wider.allowed(1, "norm") == pytest.approx(FACTOR * 0.5, rel=1e-3)
    assert wider.allowed(0, "norm") == budget.allowed(0, "norm")


def test_outputs_of_other_shapes_are_no_jump() -> None:
    truth = [torch.ones(4, dtype=torch.float64)]
    budget = Budget.of([Answers(truth, [torch.ones(4)])])
    assert budget.jumps([Answers(truth, [torch.ones(3)])]) == {}
