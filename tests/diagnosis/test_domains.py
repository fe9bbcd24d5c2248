from typing import Any

import pytest
import torch
from torch import Tensor

import bnconvert as bnc
from bnconvert.diagnosis.domains import are_separated, labels_of, rows_of, within_domains
from bnconvert.diagnosis.norm_samples import NormSamples
from bnconvert.statistics.batches import Batch

BATCHES = [Batch(0, torch.zeros(2, 3), 0), Batch(1, torch.zeros(3, 3), 2)]


def norm(*batches: Tensor) -> NormSamples:
    return NormSamples("norm", dict(enumerate(batches)), 1.0, torch.float32, ())


@pytest.mark.parametrize(
    "domains",
    [
        ["real", ("real", "fake", "fake")],
        (["real"], ["real", "fake", "fake"]),
        lambda x: "real" if len(x) == 2 else ["real", "fake", "fake"],
    ],
)
def test_a_batch_has_one_name_or_one_for_each_sample(domains: Any) -> None:
    labels = labels_of(domains, BATCHES)
    assert labels == {0: ("real",), 1: ("real", "fake", "fake")}
    assert not are_separated(labels)


def test_numbers_are_names_too() -> None:
    labels = labels_of([0, torch.tensor([1, 1, 1])], BATCHES)
    assert labels == {0: ("0",), 1: ("1", "1", "1")}
    assert are_separated(labels)
    assert labels_of(None, BATCHES) == {}


@pytest.mark.parametrize(
    ("domains", "message"),
    [
        ("real", "domains is a str; give a list with an entry for each batch"),
        (["real"], "domains has 1 entries for 2 batches; give one for each"),
        (["real", ["a", "b"]], "domains of batch 1: 2 names for 3 samples; give one name"),
    ],
)
def test_other_domains_are_refused(domains: Any, message: str) -> None:
    with pytest.raises(bnc.StatisticsError, match=message):
        labels_of(domains, BATCHES)


def test_rows_that_are_not_samples_have_the_domain_of_their_batch_only() -> None:
    assert rows_of(("a",), 3) == ("a", "a", "a")
    assert rows_of(("a", "b"), 2) == ("a", "b")
    assert rows_of(("a", "b"), 3) is None


def test_samples_around_their_domain_have_its_mean_removed() -> None:
    given = norm(torch.tensor([[1.0], [5.0]]).double(), torch.tensor([[3.0]]).double())
    found = within_domains(given, {0: ("a", "b"), 1: ("a",)})
    assert [x.flatten().tolist() for x in found.by_batch.values()] == [[-1, 0], [1]]
    assert within_domains(given, {0: ("a", "b")}) is given
    assert within_domains(given, {}) is given
