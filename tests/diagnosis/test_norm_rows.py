import torch
from torch import nn

from bnconvert.diagnosis.norm_inputs import NormInput
from bnconvert.diagnosis.norm_rows import completed, row_of
from bnconvert.modules.folded_norm import gain_range
from bnconvert.modules.survey import survey
from bnconvert.reporting.records import Finding
from tests.zoo import FrozenBatchNorm2d, NormCalledTwice, build, trained


def test_a_row_holds_what_is_set_and_counted() -> None:
    model = nn.Sequential(nn.Linear(4, 4), trained(nn.BatchNorm1d(4, eps=1e-3))).eval()
    (row,) = map(row_of, survey(model).sites)
    assert (row.mode, row.eps, row.momentum, row.batches_tracked) == ("eval", 1e-3, 0.1, 100)
    assert row.gains == gain_range(model[1])
    frozen = nn.Sequential(trained(FrozenBatchNorm2d(4))).train()
    (row,) = map(row_of, survey(frozen).sites)
    assert (row.mode, row.batches_tracked) == ("frozen", None)


def test_a_row_says_what_feeds_the_norm() -> None:
    def fed(model: nn.Module) -> list[tuple[str, ...]]:
        return [row_of(site).fed_by for site in survey(model).sites]

    assert fed(NormCalledTwice()) == [("conv1", "conv2")]
    assert fed(build("residual")[0]) == [("conv1",), ("drop",)]
    assert fed(nn.Sequential(nn.BatchNorm1d(4))) == [("input",)]
    assert fed(nn.BatchNorm1d(4)) == [()]


def test_rows_are_completed_by_path() -> None:
    sites = survey(nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4))).sites
    rows = tuple(map(row_of, sites))
    findings = [
        Finding("BN005", "warning", ("0", "1"), "", ""),
        Finding("BN022", "info", ("1",), "", ""),
    ]
    first, second = completed(rows, rows, {"0": NormInput(2, 8)}, findings)
    assert (first.images, first.values, first.finding_ids) == (2, 8, ("BN005",))
    assert (second.images, second.values, second.finding_ids) == (None, None, ("BN005", "BN022"))


def test_norms_without_numbers_have_rows() -> None:
    norms = (nn.LazyBatchNorm2d(), nn.BatchNorm2d(4, device="meta"))
    rows = [row_of(site) for site in survey(nn.Sequential(*norms)).sites]
    assert [row.channels for row in rows] == [0, 4]
    assert torch.is_grad_enabled()
