import pytest
import torch
from torch import nn

from bnconvert.diagnosis.influence import output_changes
from bnconvert.statistics.targets import find_targets


def test_the_norm_whose_statistics_change_the_output_most_is_first() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3), nn.BatchNorm1d(3)).eval()
    targets = find_targets(model)
    running = targets.snapshot()
    running[targets.measured[0]][1].fill_(4.0)  # halves the output
    running[targets.measured[2]][1].fill_(16.0)  # leaves a quarter
    x = torch.randn(8, 3)
    before = [b.clone() for b in model.buffers()]
    with torch.no_grad():
        changes = output_changes(targets.measured, running, lambda: {"y": [model(x)]})
    assert [*changes] == ["2", "0", "1"]
    assert changes["2"] == pytest.approx(0.75, rel=1e-3)
    assert changes["0"] == pytest.approx(0.5, rel=1e-3)
    assert changes["1"] == 0
    assert all(map(torch.equal, before, model.buffers()))


def test_an_output_without_numbers_tells_nothing() -> None:
    targets = find_targets(nn.BatchNorm1d(3))
    assert output_changes(targets.measured, targets.snapshot(), lambda: ["cat"]) == {}
