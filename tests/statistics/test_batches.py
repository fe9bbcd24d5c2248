import itertools
from typing import Any

import pytest
import torch

from bnconvert.errors import StatisticsError
from bnconvert.statistics.batches import (
    Batch,
    BatchReader,
    is_endless,
    tensors_of,
)


def test_batches_are_counted_and_empty_ones_left_out() -> None:
    x = torch.randn(4, 3)
    found = list(BatchReader([x, x[:0], (x, 1), {"x": x}, "no tensor"], None))
    assert [(batch.index, batch.seen) for batch in found] == [(0, 0), (2, 4), (3, 8), (4, 12)]


def test_reading_ends_with_the_batch_that_reaches_the_samples() -> None:
    x = torch.randn(4, 3)
    assert len(list(BatchReader([x] * 5, 8))) == 2
    assert len(list(BatchReader([x] * 5, 9))) == 3


def test_changes_in_place_are_seen() -> None:
    (batch,) = BatchReader([(torch.zeros(2), {"y": torch.zeros(3)})], None)
    before = batch.versions()
    batch.value[1]["y"].add_(1)
    assert batch.versions() != before


def test_tensors_are_found_in_nests_and_mappings() -> None:
    x = torch.randn(2)
    assert len(tensors_of({"a": [x, (x,)], "b": 3, "c": torch.tensor(1.0)})) == 2


def count(value: object, *arrivals: int) -> int | None:
    return Batch(0, value, 0, list(arrivals)).samples()


def test_samples_are_counted_in_batches_of_every_form() -> None:
    x = torch.randn(8, 3)
    assert count(x) == count((x, x[:, 0])) == count({"x": x}, 8) == 8
    assert count(x, 40) == 8  # five patches of each were joined with the batch
    assert count({"boxes": x[:2], "images": x}, 8) == 8
    assert count([x[0]] * 5, 5) == count(([x[0]] * 5, [x[:1]] * 5), 5) == 5
    assert count(object(), 8) == 8
    assert count({"boxes": x[:2], "images": x}) == 8
    assert count(object()) is None


def test_a_batch_is_empty_only_where_all_of_it_is() -> None:
    x = torch.randn(4, 3)
    reader = BatchReader([{"boxes": x[:0], "x": x}, (x[:0], x[:0]), "text"], None)
    assert [batch.index for batch in reader] == [0, 2]
    assert reader.empty == [1]


def test_reading_to_a_number_of_samples_needs_to_count_them() -> None:
    with pytest.raises(StatisticsError, match="batch 0: a object does not tell how many samples"):
        list(BatchReader(iter(object, None), 10))


@pytest.mark.parametrize(
    "endless",
    [itertools.cycle([torch.ones(2, 3)]), itertools.repeat(torch.ones(2, 3)), itertools.count()],
    ids=lambda batches: type(batches).__name__,
)
def test_what_never_ends_is_refused_unless_samples_are_counted(endless: Any) -> None:
    with pytest.raises(StatisticsError, match=r"never ends .*; give as many .*islice"):
        BatchReader(endless, None)
    BatchReader(endless, 10)
    BatchReader(itertools.islice(endless, 3), None)
    assert not is_endless(itertools.repeat(torch.ones(2, 3), 4))
