import pytest
from torch import nn

from bnconvert.conversion.conversion import convert
from bnconvert.diagnosis.findings.settings import settings_findings
from bnconvert.modules.survey import survey
from bnconvert.norms.frozen import Frozen
from bnconvert.norms.group import Group
from tests.torch_release import needs_torch
from tests.zoo import FrozenBatchNorm2d, build, trained


def found(*norms: nn.Module) -> list[tuple[str, str, tuple[str, ...]]]:
    findings = settings_findings(survey(nn.Sequential(*norms)))
    return [(f.id, f.severity, f.paths) for f in findings]


def test_usual_settings_are_clean() -> None:
    for usual in (nn.BatchNorm2d(4), nn.BatchNorm2d(4, eps=1e-3, momentum=0.01)):
        assert found(usual) == []
    assert found(nn.BatchNorm2d(4, momentum=None)) == []
    assert found(nn.LazyBatchNorm2d(momentum=None), nn.BatchNorm2d(4, device="meta")) == []


@pytest.mark.parametrize(("momentum", "ids"), [(0.5, ["BN005"]), (0.9, ["BN005"]), (0, ["BN006"])])
def test_the_momentum_of_another_framework_and_none_at_all(momentum: float, ids: list[str]) -> None:
    norm = trained(nn.BatchNorm2d(4, momentum=momentum))
    for training in (True, False):
        assert [id for id, _, _ in found(norm.train(training))] == ids
    for rewrite in (Frozen(), Group(2)):  # neither uses its momentum
        assert found(convert(nn.Sequential(norm), rewrite)) == []


def test_the_measured_momentum_stands_in_the_message() -> None:
    norms = (nn.BatchNorm2d(4, momentum=0.9), nn.BatchNorm2d(4, momentum=0.99))
    findings = list(settings_findings(survey(nn.Sequential(*norms, *norms[:1]))))
    assert findings[0].message.startswith("momentum of 0.9 (1), 0.99 (1): the last batch")


def test_an_average_that_begins_anew_loses_what_is_stored() -> None:
    norm = trained(nn.BatchNorm2d(4, momentum=None))
    assert found(norm) == []
    norm.get_buffer("num_batches_tracked").zero_()
    assert found(norm) == [("BN007", "warning", ("0",))]


@needs_torch(2, 13, "batch norm refuses eps=0 itself")
def test_an_eps_of_zero_harms_only_where_a_batch_normalizes() -> None:
    assert found(nn.BatchNorm2d(4, eps=0)) == [("BN008", "warning", ("0",))]
    assert found(trained(FrozenBatchNorm2d(4, eps=0))) == []


def test_the_rarer_eps_is_listed() -> None:
    norms = nn.BatchNorm2d(4), nn.BatchNorm2d(4, eps=1e-3), nn.BatchNorm2d(4)
    assert found(*norms) == [("BN008", "info", ("1",))]


def test_norms_without_statistics() -> None:
    assert found(build("without_statistics")[0]) == [("BN004", "info", ("0.norm",))]
