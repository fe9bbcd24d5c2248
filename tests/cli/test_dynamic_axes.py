from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnconvert.cli.dynamic_axes import dynamic_axes, dynamic_shapes
from bnconvert.errors import UsageError


class Two(nn.Module):
    def forward(self, image: Tensor, ids: Tensor) -> Tensor:
        return image.mean() + ids.sum()


def shapes(*texts: str) -> Any:
    return dynamic_shapes(Two(), (torch.zeros(2, 3, 8, 8), torch.zeros(2, 5)), texts)


def test_known_words_mean_the_axes_that_are_called_so() -> None:
    image = {0: "batch", 2: "height", 3: "width"}
    assert shapes("batch,height,width") == (image, {0: "batch"})
    assert shapes("batch, height,  width") == (image, {0: "batch"})
    assert shapes("length") == (None, {1: "length"})


@pytest.mark.parametrize(
    ("size", "axes"),
    [
        ((2, 24, 32, 3), {0: "batch", 1: "height", 2: "width"}),
        ((2, 3, 24, 32), {0: "batch", 2: "height", 3: "width"}),
        ((2, 3, 24, 3), {0: "batch", 2: "height", 3: "width"}),
        ((2, 64, 7, 7), {0: "batch", 2: "height", 3: "width"}),
        ((2, 8, 24, 32, 1), {0: "batch", 2: "height", 3: "width"}),
    ],
)
def test_height_and_width_come_before_colours_that_are_the_last_axis(
    size: tuple[int, ...], axes: dict[int, str]
) -> None:
    (found,) = dynamic_shapes(nn.ReLU(), (torch.zeros(size),), ["batch,height,width"])
    assert found == axes


def test_any_axis_of_any_input_can_be_named() -> None:
    assert shapes("ids:0=batch,-1=tokens") == (None, {0: "batch", 1: "tokens"})
    assert shapes("image:3=w", "ids:1=tokens") == ({3: "w"}, {1: "tokens"})
    assert shapes("3=w") == ({3: "w"}, None)


@pytest.mark.parametrize("text", ["heigth", "batch,", "x:1", ":1=a", "1=", "1=2"])
def test_what_names_no_axis_is_refused_before_any_work(text: str) -> None:
    with pytest.raises(UsageError, match="names no axis; write batch,height,width"):
        dynamic_axes([text])


@pytest.mark.parametrize("text", ["depth", "ids:2=tokens", "mask:1=tokens"])
def test_an_axis_that_no_input_has_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"no input has such an axis \(image \(2, 3, 8, 8\), ids"):
        shapes(text)
