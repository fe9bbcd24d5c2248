import pytest
import torch

from bnconvert.numerics.distance import MEASURES
from bnconvert.verification.tolerance import FACTOR, Answers, Tolerance


def test_the_tolerance_is_some_times_the_largest_own_error_over_all_inputs() -> None:
    truth = [torch.ones(4, dtype=torch.float64)]
    small, large = [torch.full((4,), 1 + 1e-5)], [torch.full((4,), 1 + 1e-4)]
    tolerance = Tolerance.of([Answers(truth, small, small), Answers(truth, small, large)])
    for measure in MEASURES:
        assert tolerance.model_error[0, measure] == pytest.approx(1e-4, rel=1e-2)
        assert tolerance.allowed(0, measure) == pytest.approx(FACTOR * 1e-4, rel=2e-2)


def test_a_model_without_error_may_still_round() -> None:
    ones = [torch.ones(4)]
    assert 0 < Tolerance.of([Answers(ones, ones, ones)]).allowed(0, "norm") < 1e-5


def test_answers_of_other_shapes_have_no_say() -> None:
    ones, more = [torch.ones(4)], [torch.ones(5)]
    tolerance = Tolerance.of([Answers(ones, ones, more), Answers(more, more, ones)])
    assert tolerance.model_error == dict.fromkeys([(0, measure) for measure in MEASURES], 0.0)


def test_outputs_hold_where_all_are_there_and_near() -> None:
    truth = [torch.ones(4, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)]
    native = [tensor.float() for tensor in truth]
    answers = Answers(truth, native, native)
    tolerance = Tolerance.of([answers])
    assert tolerance.holds(answers, native)
    assert not tolerance.holds(answers, native[:1])
    assert not tolerance.holds(answers, [*native, native[0]])
    assert not tolerance.holds(answers, [native[0] * 1.001, native[1]])
    assert not tolerance.holds(answers, [native[0], native[1] + 0.001])
    assert not tolerance.holds(answers, [native[0][:2], native[1]])
