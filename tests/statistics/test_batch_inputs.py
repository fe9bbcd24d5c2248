"""What of a batch a model is given."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnconvert.errors import StatisticsError
from bnconvert.statistics.batch_inputs import default_forward, named_inputs, required_arguments


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


def test_tensors_go_to_the_device_of_the_model() -> None:
    seen = default_forward(torch.device("meta"))(nn.Identity(), [torch.randn(2), 1])
    assert seen.is_meta


def test_of_a_mapping_it_is_given_what_its_forward_takes() -> None:
    x = torch.randn(2)
    named = {"x": x, "y": x, "label": 3, "id": "a"}
    for model in (Two(), Wrapper("module", Two())):
        assert named_inputs(model, named) == {"x": x, "y": x}
        assert default_forward(torch.device("cpu"))(model, named)[2] is False
    assert named_inputs(Wrapper("other", nn.Identity()), named) == named
    assert named_inputs(Masked(), {"x": x}) == {"x": x}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["image"], r"a batch has image, and Masked\.forward requires x, which is not there"),
        (["x", "masks"], r"a batch has x, masks, and Masked\.forward may take mask, which is not"),
    ],
)
def test_an_entry_by_another_name_is_not_dropped_in_silence(names: list[str], message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        named_inputs(Masked(), dict.fromkeys(names, torch.randn(2)))
