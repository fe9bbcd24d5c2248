from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.norms.call_count import calls_in_forward


class Steps(nn.Module):
    """Calls its norm once for each step, and keeps how many there were."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.steps = nn.BatchNorm1d(3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps = x.shape[1]
        return torch.stack([self.norm(x[:, step]) for step in range(self.steps)])


def test_calls_are_counted_and_the_model_is_as_it_was() -> None:
    model = Steps()
    assert [calls_in_forward(model, (torch.randn(2, n, 3),), model.norm) for n in (1, 3)] == [1, 3]
    assert model.training
    assert model.steps == 0
    assert not model.norm._forward_pre_hooks
    assert torch.equal(model.norm.get_buffer("running_mean"), torch.zeros(3))


class Counting(nn.Module):
    """Changes its state whenever it runs, in eval mode too; a trace does not see its norm."""

    def __init__(self, change: Callable[[Any], object]) -> None:
        super().__init__()
        self.norm, self.change = nn.BatchNorm1d(3), change
        self.register_buffer("calls", torch.zeros(()))
        self.loose, self.past = torch.zeros(()), [torch.zeros(())]

    def forward(self, x: Tensor) -> Tensor:
        self.change(self)
        result: Tensor = self.norm(x) if x.sum() > -1e9 else x
        return result


CHANGES: dict[str, Callable[[Any], object]] = {
    "buffer": lambda model: model.calls.add_(1),
    "assigned": lambda model: setattr(model, "calls", model.calls + 1),
    "attribute": lambda model: model.loose.add_(1),
    "container": lambda model: model.past[0].add_(1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_plan_that_runs_the_reference_leaves_the_models_state_alone(
    change: Callable[[Any], object],
) -> None:
    model = Counting(change)
    reference = bnc.Virtual(torch.randn(4, 3))
    assert bnc.plan(model, reference).decisions[0].outcome == repr(reference)
    converted = bnc.convert(model, reference)
    bnc.convert(model, reference, inplace=True)
    for each in (model, converted):
        assert isinstance(each, Counting)
        assert not any(map(bool, (each.calls, each.loose, each.past[0])))
