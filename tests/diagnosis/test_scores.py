import numpy as np
import pytest
import torch

import bnconvert as bnc
from bnconvert.diagnosis.scores import (
    BatchScores,
    Scores,
    intervals_of,
    is_worse,
    mean_of,
    scores_of,
)

NAN = float("nan")


def batch(*values: float, samples: int | None = None) -> BatchScores:
    return BatchScores(torch.tensor(values, dtype=torch.float64), samples or len(values))


def batches(*values: float) -> Scores:
    """Return batches of 32 samples with one score each."""
    return {index: batch(value, samples=32) for index, value in enumerate(values)}


def test_a_score_is_a_number_or_one_value_for_each_sample() -> None:
    for number in (2, 2.0, torch.tensor(2.0), torch.tensor([2.0]), np.float32(2)):
        scored = scores_of("loss", number, 4)
        assert (scored.values.tolist(), scored.weights.tolist()) == ([2.0], [4.0])
    for several in ([1, 3], torch.tensor([1.0, 3.0]), np.array([True, False]) * 2.0 + [-1, 3]):
        scored = scores_of("loss", several, 2)
        assert (scored.values.tolist(), scored.weights.tolist()) == ([1.0, 3.0], [1.0, 1.0])
    pixels = scores_of("loss", torch.tensor([[0.0, 1.0], [1.0, 1.0]]), None)
    assert (pixels.values.tolist(), pixels.samples) == ([0.5, 1.0], 2)


def test_other_numbers_of_values_are_refused() -> None:
    message = (
        r"metric returned values of shape \(3,\) for 4 samples; return one number for the batch"
    )
    with pytest.raises(bnc.StatisticsError, match=message):
        scores_of("metric", [1, 2, 3], 4)


def test_means_are_those_of_the_samples() -> None:
    assert mean_of({0: batch(1.0, samples=3), 1: batch(4.0, 6.0)}) == pytest.approx(13 / 5)
    assert mean_of({}) != mean_of({})


def repeated(*values: float) -> Scores:
    return {0: batch(*values * 8)}


@pytest.mark.parametrize(
    ("mine", "theirs", "worse"),
    [
        (repeated(1.0, 1.1, 0.9), repeated(0.5), False),  # not as many values
        (repeated(1.0, 1.1, 0.9), repeated(0.5, 0.5, 0.5), True),
        (repeated(0.6, 0.6, 0.6), repeated(0.55, 0.55, 0.55), False),  # not by a quarter
        (batches(*[0.0] * 9, 0.3), batches(*[0.0] * 10), False),  # by chance
        (repeated(-1.0), repeated(-1.01), False),  # log-likelihoods
        (repeated(-1.0), repeated(-2.0), True),
        (batches(*[1.0] * 7), batches(*[0.1] * 7), False),  # so few tell nothing of chance
        (batches(*[1.0] * 8), batches(*[0.1] * 8), True),
        (batches(NAN, 1.0), batches(1.0, 1.0), True),
        (batches(float("inf")), batches(1.0), True),
        (batches(float("-inf")), batches(1.0), False),
        (batches(NAN), batches(NAN), False),
        ({}, {}, False),
        ({0: batch(5.0)}, {1: batch(1.0)}, False),  # no batch in common
    ],
)
def test_worse_is_by_a_quarter_and_for_certain(mine: Scores, theirs: Scores, worse: bool) -> None:
    assert is_worse(mine, theirs) is worse


def test_pairs_are_certain_of_what_the_scores_alone_are_not() -> None:
    """Hard samples and easy ones: the means scatter, the differences do not."""
    hard = torch.linspace(0, 3, 40).tolist()
    running = {0: batch(*[score + 1 for score in hard])}
    by = {"running": running, "batch": {}, "precise": {0: batch(*hard)}}
    found = {interval.statistics: interval for interval in intervals_of("loss", by)}
    assert list(found) == ["running", "batch", "precise", "running - precise"]
    alone, difference = found["running"], found["running - precise"]
    assert alone.low is not None
    assert alone.high is not None
    assert alone.high - alone.low > 0.5
    assert difference.low == pytest.approx(1)
    assert difference.high == pytest.approx(1)
    assert (found["batch"].units, found["batch"].low) == (0, None)
    assert {interval.unit for interval in found.values()} == {"sample"}


def test_batches_with_one_score_each_are_counted_as_batches() -> None:
    by = dict.fromkeys(("running", "batch", "precise"), batches(1.0, 2.0))
    assert {(i.unit, i.units, i.low) for i in intervals_of("loss", by)} == {("batch", 2, None)}
