import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.diagnosis.findings.step_counts import effective, step_findings, steps_of
from bnconvert.modules.survey import survey
from tests.zoo import NormCalledTwice


def stepped(model: nn.Module, steps: int, counted: int) -> torch.optim.Optimizer:
    """Return an optimizer that made so many steps, while the norms counted so many batches."""
    optimizer = torch.optim.Adam(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.state[next(model.parameters())]["step"].fill_(steps)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.fill_(counted)
    return optimizer


def norm(momentum: float | None = 0.1) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(3, momentum=momentum))


@pytest.mark.parametrize(
    ("steps", "counted", "momentum", "times"),
    [
        (100, 800, 0.1, 8),
        (100, 200, 0.1, 2),
        (100, 100, 0.1, None),
        (100, 801, 0.1, None),  # or an earlier training
        (100, 50, 0.1, None),
        (10, 80, 0.1, None),  # too few to tell
        (100, 800, None, None),  # a mean over all batches
        (100, 800, bnc.accumulated_momentum(0.1, 8), None),
        (100, 800, 0.0, None),
    ],
)
def test_a_multiple_of_the_steps_is_told_where_the_momentum_is_too_large_for_it(
    steps: int, counted: int, momentum: float | None, times: int | None
) -> None:
    model = norm(momentum)
    found = [*step_findings(survey(model), stepped(model, steps, counted))]
    assert len(found) == (times is not None)
    if times:
        assert f"counted exactly {times} times as many batches" in found[0].message
        assert f"acts as {effective(0.1, times):.2f}" in found[0].message
        assert found[0].code == ""  # a person knows whether gradients are accumulated
        (layer,) = (m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d))
        layer.momentum = bnc.accumulated_momentum(0.1, times)
        assert [*step_findings(survey(model), stepped(model, steps, counted))] == []


def test_calls_that_were_traced_explain_a_multiple() -> None:
    model = NormCalledTwice()
    assert [*step_findings(survey(model), stepped(model, 100, 200))] == []
    assert len([*step_findings(survey(model), stepped(model, 100, 400))]) == 1


def test_an_optimizer_without_a_counter_says_nothing() -> None:
    model = norm()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    assert steps_of(optimizer) == 0
    assert [*step_findings(survey(model), optimizer)] == []
