from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.exporting.input_choice import Preprocess, describe, raw_inputs
from bnconvert.graphs.example import Example

RGB = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


class Call(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Any, mask: Tensor | None = None, *more: Any, y: Any = None) -> None:
        """Take many kinds of inputs."""


def chosen(preprocess: Preprocess, *args: Any, **kwargs: Any) -> list[tuple[str, int | None]]:
    found = raw_inputs(Call(), Example(args, kwargs), preprocess)
    return [(raw.name, raw.axis) for raw in found]


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((2, 3), -1),
        ((2, 3, 9), -2),
        ((2, 9, 3), -1),
        ((2, 3, 8, 8), -3),
        ((2, 8, 8, 3), -1),
        ((2, 3, 3, 3), -3),
        ((2, 5, 3, 8, 8), -3),
        ((2, 3, 5, 8, 8), -4),
        ((2, 5, 8, 8, 3), -1),
        ((2, 4, 5, 3, 8, 8), -3),
    ],
    ids=str,
)
def test_channels_are_axis_1_of_images_or_the_one_axis_that_fits(
    shape: tuple[int, ...], axis: int
) -> None:
    assert chosen(RGB, torch.rand(shape)) == [("x", axis)]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 3, 8, 8), r"axes 1 and 2 of x of shape \(2, 3, 3, 8, 8\) have 3 entries"),
        ((2, 3, 3), "axes 1 and 2"),
        ((2, 1, 8, 8), r"3 channels, and x of shape \(2, 1, 8, 8\) has no axis"),
        ((3, 8, 8), "has no axis of channels with 3"),
        ((2, 8, 3, 8), "has no axis of channels with 3"),
        ((3,), "has no axis of channels with 3"),
    ],
    ids=str,
)
def test_an_axis_that_may_be_another_is_refused_with_sizes(
    shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(bnc.ExportError, match=f"preprocess: .*{message}.*; give"):
        chosen(RGB, torch.rand(shape))


def test_the_remedy_of_two_axes_that_fit_works() -> None:
    """Mean and deviation as tensors say the axis themselves."""
    shaped = tuple(torch.tensor(part).view(3, 1, 1, 1) for part in RGB)
    assert chosen((shaped[0], shaped[1]), torch.rand(2, 3, 3, 8, 8)) == [("x", None)]
    with pytest.raises(bnc.ExportError, match=r"\(3, 1, 1, 1\) does not broadcast to x of shape"):
        chosen((shaped[0], shaped[1]), torch.rand(2, 3, 8))


@pytest.mark.parametrize(
    ("preprocess", "args", "kwargs", "names"),
    [
        ((0.5, 0.2), (torch.rand(2, 4),), {}, ["x"]),
        ((0.5, 0.2), (torch.rand(2, 3, 8, 8), torch.ones(2)), {}, ["x"]),
        ((0.5, 0.2), (torch.ones(2), torch.rand(2, 1, 8, 8)), {}, ["mask"]),
        ((0.5, 0.2), ([torch.rand(2, 1, 8, 8), torch.ones(2)],), {}, ["x.0"]),
        ({"y": (0.5, 0.2)}, (torch.rand(2, 1),), {"y": torch.rand(2, 1)}, ["y"]),
        ({"more_0": (0.5, 0.2)}, (*torch.rand(3, 2, 1),), {}, ["more_0"]),
        ({"x_1": (0.5, 0.2)}, ([*torch.rand(2, 2, 1)],), {}, ["x.1"]),
        ({"x": (0.5, 0.2)}, ({"a": torch.rand(2, 1), "n": None, "k": 3},), {}, ["x.a"]),
    ],
)
def test_inputs_are_meant_by_name_or_the_only_one_that_can_be(
    preprocess: Preprocess, args: tuple[Any, ...], kwargs: dict[str, Any], names: list[str]
) -> None:
    assert [name for name, _ in chosen(preprocess, *args, **kwargs)] == names


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        ((0.5, 0.2), r"may mean several inputs \(x of shape \(2, 3, 8, 8\), y of shape"),
        ({"z": (0.5, 0.2)}, "'z' is none of the inputs; name one of x, y"),
        ({"x": (0.5, 0.2), "x_": (0.5, 0.2)}, "'x_' is none"),
        ({"x": 0.5}, "is not"),
        ({"x": ("a", 0.2)}, "is not"),
        ({"x": (0.5, 0.2, 0.1)}, "is not"),
        ({"x": ((0.5, 0.4), RGB[1])}, "2 means and 3 deviations for x"),
        ({"x": (0.0, 0.0)}, "the deviations must be finite and not zero"),
        ({"x": (0.0, 1e-60)}, "finite and not zero in torch.float32"),
        ({"x": (float("nan"), 1.0)}, "must be finite"),
    ],
)
def test_what_cannot_be_meant_is_refused(preprocess: Any, message: str) -> None:
    images = torch.rand(2, 3, 8, 8)
    with pytest.raises(bnc.ExportError, match=f"^preprocess.*{message}"):
        chosen(preprocess, images, y=images)


def test_numbers_are_one_for_each_channel_and_the_report_says_where() -> None:
    example = Example.of(torch.rand(2, 8, 8, 3))
    (raw,) = raw_inputs(Call().half(), example, (RGB[0], 0.5))
    assert (raw.std.tolist(), raw.dtype, raw.precision) == ([0.5] * 3, torch.half, torch.float)
    assert describe([raw]) == [
        "the file normalizes x itself: (x - mean) / std of 3 channels along axis -1"
    ]
    assert raw_inputs(Call(), example, None) == ()
