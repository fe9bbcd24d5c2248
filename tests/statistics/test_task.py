import pytest
import torch
from torch import nn

from bnconvert.errors import StatisticsError
from bnconvert.statistics.batch_inputs import default_forward
from bnconvert.statistics.estimate import Estimate, measure
from bnconvert.statistics.ranks import Ranks
from bnconvert.statistics.targets import find_targets
from bnconvert.statistics.task import Task, merge_into, why_no_data


def task_for(norm: nn.Module, variance: str = "population") -> Task:
    call = default_forward(torch.device("cpu"))
    targets = find_targets(norm).measured
    return Task(norm, targets, call, Ranks(None), variance, lambda done, total, what: None)


@pytest.mark.parametrize(("variance", "correction"), [("population", 0), ("unbiased", 1)])
def test_a_target_is_finished_with_the_variance_that_was_asked_for(
    variance: str, correction: int
) -> None:
    norm, x = nn.BatchNorm1d(3), torch.randn(8, 3)
    task = task_for(norm, variance)
    task.write_statistics(task.targets[0], measure(x, 0).merge(measure(x, 8)))
    twice = torch.cat([x, x])
    torch.testing.assert_close(norm.running_mean, twice.mean(0))
    torch.testing.assert_close(norm.running_var, twice.var(0, correction=correction))
    assert int(norm.get_buffer("num_batches_tracked")) == 2
    arrived = []
    with task.interceptor(norm)(lambda target, values: arrived.append(target)):
        norm(x)
    assert arrived == [task.targets[0]]


def test_nothing_and_single_values_do_not_finish_a_target() -> None:
    norm = nn.BatchNorm1d(3)
    task = task_for(norm)
    task.write_statistics(task.targets[0], measure(torch.empty(0, 3), 0))
    assert torch.equal(norm.get_buffer("running_var"), torch.ones(3))
    with pytest.raises(StatisticsError, match=r"\(root\): every batch has one value per channel"):
        task.write_statistics(task.targets[0], measure(torch.randn(1, 3), 0))


def test_what_was_measured_adds_up_by_target() -> None:
    total: dict[int, Estimate] = {}
    merge_into(total, {1: measure(torch.randn(4, 3), 0)})
    merge_into(total, {1: measure(torch.randn(5, 3), 4), 2: measure(torch.randn(2, 3), 0)})
    assert {index: found.samples for index, found in total.items()} == {1: 9, 2: 2}


def test_why_there_is_nothing_is_said() -> None:
    assert why_no_data({}).startswith("batches gave no data; give at least one batch")
    said = why_no_data({0: "a NaN at a", 1: "a NaN at b", 2: "x", 3: "y"})
    assert said.startswith("none of the 4 batches can be used (batch 0: a NaN at a; batch 1:")
