import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnconvert.errors import StatisticsError
from bnconvert.statistics.batches import (
    Batch,
    BatchReader,
    default_forward,
    is_endless,
    required_arguments,
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


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor, verbose: bool = False) -> list[object]:
        return [x, y, verbose]


class Masked(nn.Module):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x if mask is None else x[mask]


class Anything(nn.Module):
    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0]


class Wrapper(Anything):
    """As torch's AveragedModel and PEFT's models are."""

    def __init__(self, name: str, model: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, model)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.get_submodule(self.name)(*inputs, **named)


def test_a_forward_takes_as_many_elements_as_it_requires() -> None:
    call, x = default_forward(torch.device("cpu")), torch.randn(2)
    model = Two()
    assert call(model, (x, x, x))[2] is False
    assert call(model, {"x": x, "y": x, "verbose": True})[2] is True
    assert call(nn.ReLU(), [x, 1]).shape == x.shape
    assert required_arguments(nn.ReLU(), [x]) == 1
    with pytest.raises(
        StatisticsError, match=r"a batch has 0 elements and Two\.forward requires 2"
    ):
        call(model, ())


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: Wrapper("module", m)])
def test_an_element_that_may_be_an_input_is_not_dropped_in_silence(
    wrap: Callable[[nn.Module], nn.Module],
) -> None:
    batch = (torch.randn(4, 2), torch.ones(4) > 0)
    with pytest.raises(StatisticsError, match=r"Masked\.forward requires 1 and may take mask too"):
        required_arguments(wrap(Masked()), batch)
    with pytest.raises(
        StatisticsError, match=r"Anything\.forward takes any number, so that inputs"
    ):
        required_arguments(wrap(Anything()), batch)


@pytest.mark.parametrize("names", [["module"], ["base_model", "model"], ["module", "_orig_mod"]])
def test_wrappers_that_take_anything_are_looked_through(names: list[str]) -> None:
    model: nn.Module = Two()
    for name in reversed(names):
        model = Wrapper(name, model)
    x = torch.randn(2)
    assert required_arguments(model, (x, x, x)) == 2


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


def test_tensors_go_to_the_device_of_the_model() -> None:
    seen = default_forward(torch.device("meta"))(nn.Identity(), [torch.randn(2), 1])
    assert seen.is_meta


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
