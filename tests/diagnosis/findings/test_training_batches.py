from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bnconvert.diagnosis.findings.training_batches import training_batch_findings
from bnconvert.diagnosis.norm_samples import NormSamples
from bnconvert.reporting.records import Finding


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def norm(*batches: Tensor) -> NormSamples:
    return NormSamples("norm", dict(enumerate(batches)), 1.0, torch.float32, ())


def found(*norms: NormSamples) -> list[Finding]:
    sizes = {index: len(x) for index, x in norms[0].by_batch.items()}
    return [*training_batch_findings(norms, sizes)]


def ids(*norms: NormSamples) -> list[str]:
    return [finding.id for finding in found(*norms)]


def test_shuffled_batches_of_usual_size_are_no_finding() -> None:
    for seed in range(5):
        assert ids(norm(*noise(256, 8, seed=seed).split(32))) == []
        assert ids(norm(*noise(280, 8, seed=seed).split(32))) == []


@pytest.mark.parametrize(("size", "severity"), [(15, "warning"), (4, "warning"), (3, "error")])
def test_few_images_are_said_as_strongly_as_they_are_few(size: int, severity: str) -> None:
    (finding,) = found(norm(*noise(240, 8).split(size)))
    assert (finding.id, finding.severity) == ("BN203", severity)
    assert f"a batch has {size} images" in finding.message


def test_many_rows_of_few_images_are_few() -> None:
    regions = norm(*noise(256, 8).split(128))
    (finding,) = training_batch_findings([regions], {0: 2, 1: 2})
    assert (finding.id, finding.severity) == ("BN203", "error")


def test_one_value_per_channel_is_an_error_ahead() -> None:
    batches = [*noise(128, 4).split(32), noise(1, 4)]
    (finding,) = found(replace(norm(*batches), single=(4,)))
    assert (finding.id, finding.severity) == ("BN205", "error")
    assert finding.message.startswith("of batch 4 one value per channel arrives")
    assert finding.code == "batches = [*batches][:-1]"
    among = found(replace(norm(*batches, *batches), single=(4, 9)))[0]
    assert among.message.startswith("of batch 4 and 1 more one value")
    assert among.code == ""


def test_groups_in_shuffled_batches_leak() -> None:
    groups = noise(8, 8, 1, 4).expand(-1, -1, 4, -1).reshape(8, 32, 4)
    (finding,) = found(norm(*groups + 0.3 * noise(8, 32, 4, seed=1)))
    assert (finding.id, finding.severity) == ("BN208", "warning")
    assert "at norm neighbors in a batch correlate by" in finding.message
    views = noise(8, 16, 4)
    (finding,) = found(norm(*torch.cat([views, views], 1)))
    assert "samples 16 places apart correlate by 1.00" in finding.message


def test_data_in_an_order_and_batches_of_one_kind_are_not_alike() -> None:
    steady = torch.linspace(-2, 2, 256, dtype=torch.float64)[:, None] + 0.2 * noise(256, 3)
    kinds = noise(8, 1, 3) + noise(8, 32, 3, seed=1)
    for batches, said in ((steady.split(64), "in an order"), (kinds, "of another kind")):
        (finding,) = found(norm(*batches))
        assert (finding.id, finding.severity) == ("BN209", "warning")
        assert said in finding.message


def test_a_short_last_batch_that_is_off_counts_as_much_as_a_full_one() -> None:
    others = noise(128, 4).split(32)
    (finding,) = found(norm(*others, noise(3, 4) + 1))
    assert finding.id == "BN209"
    assert finding.message.startswith("the last batch has 3 samples, the others 32")
    assert ids(norm(*others, noise(8, 4) + 1)) == []  # a quarter
    assert ids(norm(*others, noise(3, 4) * 0.1)) == []  # not off


def test_few_samples_and_other_norms_tell_nothing() -> None:
    assert [*training_batch_findings([], {0: 2})] == []
    ordered = torch.linspace(-2, 2, 48, dtype=torch.float64)[:, None]
    assert ids(norm(*ordered.split(24))) == []
