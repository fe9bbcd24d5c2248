import math

import torch
from torch import nn

import bnconvert as bnc
from bnconvert.diagnosis.findings.stored_tensors import stored_findings
from bnconvert.modules.survey import survey
from tests.zoo import FrozenBatchNorm2d, build, trained


def found(*norms: nn.Module) -> list[str]:
    return [finding.id for finding in stored_findings(survey(nn.Sequential(*norms)))]


def norm(**changes: float) -> nn.BatchNorm2d:
    """Return a trained norm with one entry of the named tensors changed."""
    module = trained(nn.BatchNorm2d(4))
    with torch.no_grad():
        for name, value in changes.items():
            getattr(module, name)[1] = value
    return module


def test_trained_and_frozen_norms_are_clean() -> None:
    assert found(norm(), trained(FrozenBatchNorm2d(4))) == []
    for name in ("dead_channels", "without_statistics"):
        assert found(build(name)[0]) == []


def test_numbers_that_make_nan() -> None:
    for changes in (
        {"running_mean": math.nan},
        {"running_var": math.inf},
        {"running_var": -1e-3},
        {"weight": math.nan},
        {"bias": -math.inf},
    ):
        assert found(norm(**changes)) == ["BN101"]


def without_statistics(**affine: float) -> nn.BatchNorm2d:
    """Return a norm with the statistics of a new one."""
    module = nn.BatchNorm2d(4)
    for name, value in affine.items():
        nn.init.constant_(module.get_parameter(name), value)
    return module


def test_a_trained_norm_with_fresh_statistics() -> None:
    lost = without_statistics(weight=0.5, bias=0.5)
    assert found(lost, norm()) == ["BN102"]
    (finding,) = stored_findings(survey(nn.Sequential(lost)))
    assert (finding.id, finding.severity) == ("BN102", "warning")  # it may be an initialization
    lost.get_buffer("num_batches_tracked").fill_(3)
    (finding,) = stored_findings(survey(nn.Sequential(lost)))
    assert (finding.id, finding.severity) == ("BN102", "error")


def test_weights_that_are_drawn_at_random_are_new() -> None:
    """As DCGAN draws those of its norms around 1."""
    assert found(without_statistics(weight=0.98)) == ["BN114"]
    assert found(without_statistics(weight=0.98), norm()) == ["BN114"]  # a new head


def test_a_new_norm_is_worth_knowing_and_no_error() -> None:
    assert found(nn.BatchNorm2d(4)) == ["BN114"]
    zero = nn.BatchNorm2d(4)
    nn.init.zeros_(zero.weight)  # as the last norm of a residual block
    assert found(zero) == ["BN114"]


def test_group_norm_has_no_use_for_statistics() -> None:
    grouped = bnc.convert(nn.BatchNorm2d(4), bnc.Group(2))
    nn.init.normal_(grouped.get_parameter("weight"))
    assert found(grouped) == []


def test_only_statistics_can_be_measured_anew() -> None:
    for name, line in (("running_var", "bnc.recompute_statistics(model, batches)"), ("bias", "")):
        broken = nn.Sequential(norm(**{name: math.nan}))
        (finding,) = stored_findings(survey(broken))
        assert (finding.id, finding.code) == ("BN101", line)


def test_statistics_in_sixteen_bits() -> None:
    assert found(norm().half()) == ["BN015"]
    assert found(norm().bfloat16()) == ["BN015"]


def test_norms_without_numbers_are_passed_over() -> None:
    assert found(nn.LazyBatchNorm2d(), nn.BatchNorm2d(4, device="meta")) == []
