import torch
from torch import nn

from bnconvert.statistics.estimate import measure
from bnconvert.statistics.report_rows import statistics_rows
from bnconvert.statistics.targets import find_targets


def test_distances_are_in_units_of_the_new_sigma() -> None:
    norm = nn.BatchNorm1d(2, eps=1e-9)
    targets = find_targets(norm)
    targets.measured[0].set_values(torch.tensor([1.0, 1.0]), torch.tensor([4.0, 4.0]))
    before = targets.snapshot()
    targets.measured[0].set_values(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 4.0]))
    found = {0: measure(torch.randn(64, 2), 0)}
    (row,) = statistics_rows(targets.measured, before, found, {0}, "layerwise")
    assert (row.path, row.channels, row.samples, row.against) == ("(root)", 2, 64, "layerwise")
    assert row.remark == "over its calls, by mini-batches"
    torch.testing.assert_close(row.mean_distance, (2**2 / 2) ** 0.5, rtol=1e-6, atol=0)
    torch.testing.assert_close(row.deviation_distance, (1 / 2) ** 0.5, rtol=1e-6, atol=0)


def test_old_values_that_are_not_finite_have_no_distance() -> None:
    norm = nn.BatchNorm1d(2)
    targets = find_targets(norm)
    targets.measured[0].set_values(torch.tensor([float("nan"), 0]), torch.ones(2))
    before = targets.snapshot()
    targets.measured[0].set_values(torch.zeros(2), torch.ones(2))
    (row,) = statistics_rows(
        targets.measured, before, {0: measure(torch.randn(4, 2), 0)}, (), "ema"
    )
    assert row.mean_distance is None
    assert row.deviation_distance is not None
    assert statistics_rows(targets.measured, before, {}, (), "ema") == ()
