import pytest
import torch
from torch import nn

from bnconvert.conversion.conversion import convert
from bnconvert.diagnosis.findings.channels import channel_findings
from bnconvert.modules.survey import survey
from bnconvert.norms.group import Group
from bnconvert.reporting.records import Finding
from tests.zoo import FrozenBatchNorm2d, build, trained


def findings(norm: nn.Module) -> list[Finding]:
    return list(channel_findings(survey(nn.Sequential(norm))))


def found(norm: nn.Module) -> list[str]:
    return [finding.id for finding in findings(norm)]


def changed(count: int = 1, **values: float) -> nn.BatchNorm2d:
    """Return a trained norm of 40 channels, the first of them with other numbers."""
    norm = trained(nn.BatchNorm2d(40))
    with torch.no_grad():
        for name, value in values.items():
            getattr(norm, name)[:count] = value
    return norm


@pytest.mark.parametrize("name", ["residual", "without_statistics", "depthwise"])
def test_trained_models_are_clean(name: str) -> None:
    assert list(channel_findings(survey(build(name)[0]))) == []


def test_norms_that_are_new_or_without_numbers_are_clean() -> None:
    for norm in (nn.BatchNorm2d(4), nn.LazyBatchNorm2d(), nn.BatchNorm2d(4, device="meta")):
        assert found(norm) == []
    assert found(nn.BatchNorm2d(4, affine=False, track_running_stats=False)) == []
    assert found(trained(FrozenBatchNorm2d(4))) == []


def test_a_dead_channel_is_amplified_and_counted() -> None:
    (finding,) = findings(changed(2, running_var=1e-9))
    assert finding.id == "BN104"
    assert finding.message.startswith("2 of 40 channels")
    assert found(changed(running_var=1e-9, weight=1e-2)) == []  # it is not amplified


def test_a_channel_of_small_weight_and_bias_can_be_pruned() -> None:
    assert found(changed(3, weight=1e-6, bias=-1e-6)) == ["BN105"]
    assert found(changed(weight=1e-6)) == []  # its bias is another constant
    zero = nn.BatchNorm2d(4)
    nn.init.zeros_(zero.weight)
    assert found(zero) == []  # an initialization


def test_weights_collapse_in_a_long_training_only() -> None:
    norm = changed(30, weight=1e-5)
    assert "BN106" not in found(norm)
    norm.get_buffer("num_batches_tracked").fill_(5000)
    assert "BN106" in found(norm)


def test_eps_decides_where_more_than_a_twentieth_of_the_variances_are_smaller() -> None:
    assert found(changed(3, running_var=5e-6, weight=1e-3)) == ["BN107"]
    assert found(changed(1, running_var=5e-6, weight=1e-3)) == []
    assert found(convert(changed(3, running_var=5e-6, weight=1e-3), Group(4))) == []
