import pytest
import torch
from torch import Tensor

from bnconvert.diagnosis.findings.uncertainty import half_difference, uncertainty_findings
from bnconvert.diagnosis.norm_samples import NormSamples


def norm(samples: int, spread: float = 1.0) -> NormSamples:
    generator = torch.Generator().manual_seed(0)
    x: Tensor = spread * torch.randn(samples, 64, generator=generator, dtype=torch.float64)
    return NormSamples("norm", {0: x}, 1.0, torch.float32, ())


def test_halves_differ_by_twice_the_standard_error() -> None:
    assert half_difference(norm(100)) == pytest.approx(0.2, rel=0.25)


def test_few_samples_are_said_with_how_many_are_enough() -> None:
    (finding,) = uncertainty_findings([norm(16)])
    assert (finding.id, finding.severity, finding.paths) == ("BN212", "info", ("norm",))
    assert "statistics of all 16 samples are uncertain by 0.2" in finding.message
    assert int(finding.fix.split("about ")[1].split()[0]) == pytest.approx(1100, rel=0.4)


def test_many_samples_or_samples_that_are_alike_are_no_finding() -> None:
    assert [*uncertainty_findings([norm(128), norm(16, 0.3), norm(1)])] == []
