import pytest
import torch
from torch import Tensor

from bnconvert.diagnosis.findings.domain_differences import domain_findings, domain_share
from bnconvert.diagnosis.norm_samples import NormSamples

NOISE = torch.randn(64, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def norm(*batches: Tensor, path: str = "norm") -> NormSamples:
    return NormSamples(path, dict(enumerate(batches)), 1.0, torch.float32, ())


def test_the_share_is_the_variance_of_the_domains_means() -> None:
    """Three quarters at +1 and a quarter at -3, in units of the whole spread."""
    x = torch.tensor([[1.0]] * 6 + [[-3.0]] * 2, dtype=torch.float64)
    share = domain_share(norm(x), {0: ("a",) * 6 + ("b",) * 2})
    assert share is not None
    assert share.share == pytest.approx(3)
    assert (share.farthest, share.distance) == ("b", 3)


def test_mixed_domains_are_named_with_the_line_that_separates_them() -> None:
    x = NOISE * 0.8
    x = x + torch.tensor([0.6, -0.6] * 32, dtype=torch.float64)[:, None]
    labels = dict.fromkeys((0, 1), ("day", "night") * 16)
    (finding,) = domain_findings([norm(*x.split(32)), norm(*NOISE.split(32), path="other")], labels)
    assert (finding.id, finding.severity, finding.paths) == ("BN206", "warning", ("norm",))
    assert "of the variance at norm lies between domains ('" in finding.message
    assert finding.code == "model = bnc.convert(model, bnc.Separate(domains=('day', 'night')))"


def test_domains_in_batches_of_their_own_are_another_finding() -> None:
    x = norm(NOISE[:32] - 0.7, NOISE[32:] + 0.7)
    (finding,) = domain_findings([x], {0: ("real",), 1: ("fake",)})
    assert finding.id == "BN207"
    assert "which training does not see" in finding.message


def test_domains_that_mean_nothing_are_no_finding() -> None:
    labels = {0: ("a", "b") * 16, 1: ("a",) * 32}
    assert [*domain_findings([norm(*NOISE.split(32))], labels)] == []
    few = {0: ("a", "b")}
    assert [*domain_findings([norm(NOISE[:2])], few)] == []
    assert [*domain_findings([norm(NOISE - 3)], {0: ("a",)})] == []
    assert [*domain_findings([norm(NOISE - 3)], {})] == []


def test_norms_that_have_domains_already_are_left_in_peace() -> None:
    x = norm(NOISE[:32] - 2, NOISE[32:] + 2, path="norm[real]")
    assert [*domain_findings([x], {0: ("real",), 1: ("fake",)})] == []
