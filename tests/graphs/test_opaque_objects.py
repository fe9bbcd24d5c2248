import enum
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from bnconvert.graphs.opaque_objects import input_obstacle, output_obstacle


@dataclass
class Logits:
    value: Tensor


@dataclass
class Nested:
    inner: Logits
    count: int = 3


@dataclass(slots=True)
class Slotted:
    value: Tensor


class Plain:
    def __init__(self, value: Tensor) -> None:
        self.value = value


class OwnDict(dict[str, Tensor]):
    pass


class OwnList(list[Tensor]):
    pass


class Colour(enum.Enum):
    RED = 1


Named = namedtuple("Named", "value")
Make = Callable[[Tensor], Any]
DATA: list[Make] = [Logits, lambda y: (y, Logits(y)), lambda y: Nested(Logits(y)), Slotted]
OPAQUE: list[Make] = [Plain, lambda y: OwnDict(a=y), lambda y: OwnList([y]), lambda y: (y, {y})]
SEEN: list[Make] = [
    Named,
    lambda y: OrderedDict(a=y),
    lambda y: (y, None, 3.0, "a", Colour.RED, y.dtype, y.device, {1}, Logits),
]
Y = torch.ones(2)


@pytest.mark.parametrize("make", DATA)
def test_tensors_in_a_dataclass_are_not_seen_until_it_is_registered(make: Make) -> None:
    for refusal in (input_obstacle(make(Y)), output_obstacle(make(Y))):
        assert refusal is not None
        assert "whose tensors torch does not see" in refusal.text
        assert "call torch.export.register_dataclass(" in refusal.remedy


@pytest.mark.parametrize("make", OPAQUE)
def test_tensors_in_other_objects_are_not_seen(make: Make) -> None:
    for refusal in (input_obstacle(make(Y)), output_obstacle(make(Y))):
        assert refusal is not None
        assert "register" not in refusal.remedy
        assert refusal.remedy.endswith("in a tuple, list or dict")


@pytest.mark.parametrize("make", SEEN)
def test_what_torch_sees_is_no_obstacle(make: Make) -> None:
    assert input_obstacle(make(Y)) is None
    assert output_obstacle(make(Y)) is None


@pytest.mark.parametrize("output", [None, 3.0, (), {"a": "b"}])
def test_an_output_without_tensors_is_nothing_to_write(output: Any) -> None:
    refusal = output_obstacle(output)
    assert refusal is not None
    assert str(refusal) == "its forward returns no tensor; return what the file should compute"
