import pytest
import torch
from torch import Tensor, nn

from bnconvert.errors import StatisticsError
from bnconvert.statistics.batches import (
    default_forward,
    read_batches,
    required_arguments,
    tensors_of,
)


def test_batches_are_counted_and_empty_ones_left_out() -> None:
    x = torch.randn(4, 3)
    found = list(read_batches([x, x[:0], (x, 1), {"x": x}, "no tensor"], None))
    assert [(batch.index, batch.seen) for batch in found] == [(0, 0), (2, 4), (3, 8), (4, 12)]


def test_reading_ends_with_the_batch_that_reaches_the_samples() -> None:
    x = torch.randn(4, 3)
    assert len(list(read_batches([x] * 5, 8))) == 2
    assert len(list(read_batches([x] * 5, 9))) == 3


def test_changes_in_place_are_seen() -> None:
    (batch,) = read_batches([(torch.zeros(2), {"y": torch.zeros(3)})], None)
    before = batch.versions()
    batch.value[1]["y"].add_(1)
    assert batch.versions() != before


def test_tensors_are_found_in_nests_and_mappings() -> None:
    x = torch.randn(2)
    assert len(tensors_of({"a": [x, (x,)], "b": 3, "c": torch.tensor(1.0)})) == 2


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor, z: Tensor | None = None) -> list[Tensor | None]:
        return [x, y, z]


def test_a_forward_takes_as_many_elements_as_it_requires() -> None:
    call, x = default_forward(torch.device("cpu")), torch.randn(2)
    model = Two()
    assert call(model, (x, x, x))[2] is None
    assert call(model, {"x": x, "y": x, "z": x})[2] is x
    assert call(nn.ReLU(), [x, 1]).shape == x.shape
    assert required_arguments(nn.ReLU(), [x]) == 1
    with pytest.raises(
        StatisticsError, match=r"a batch has 0 elements and Two\.forward requires 2"
    ):
        call(model, ())


def test_tensors_go_to_the_device_of_the_model() -> None:
    seen = default_forward(torch.device("meta"))(nn.Identity(), [torch.randn(2), 1])
    assert seen.is_meta
