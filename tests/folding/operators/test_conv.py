from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.folding.operators.conv import BORDER
from bnconvert.graphs.aten import aten
from tests.excerpts import Sketch, function, model
from tests.folding.operators.passage import ANY, PASSES, SCALE, SHIFT, Passages

#: Their arguments differ in type, by the number of axes.
CONVS: tuple[Callable[..., nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
SHAPES = ((2, 4, 7), (2, 4, 7, 6), (2, 4, 5, 6, 5))
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no_bias": {"bias": False},
    "strided": {"stride": 2, "dilation": 2},
    "grouped": {"groups": 2},
    "depthwise": {"groups": 4, "bias": False},
    "valid": {"padding": "valid"},
    "same_point": {"kernel_size": 1, "padding": "same"},
}
PADDED: dict[str, dict[str, Any]] = {
    "padded": {"padding": 1, "groups": 2},
    "same": {"padding": "same"},
}


def convolutions(settings: dict[str, dict[str, Any]]) -> dict[str, Sketch]:
    return {
        f"{name}{rank}d": model(partial(conv, 4, 8, **{"kernel_size": 3, **kwargs}), shape)
        for name, kwargs in settings.items()
        for rank, conv, shape in zip((1, 2, 3), CONVS, SHAPES, strict=True)
        if rank != 3 or name in ("plain", "grouped", "padded")
    }


def lowered(x: Tensor, w: Tensor, transposed: bool = False) -> Tensor:
    ones = [1, 1]
    y: Tensor = aten.convolution.default(x, w, None, ones, [0, 0], ones, transposed, [0, 0], 1)
    return y


WHOLE, CUT = convolutions(SETTINGS), convolutions(PADDED)
passage = Passages({**WHOLE, **CUT})
fixed = Passages(
    {
        "unbatched": model(lambda: nn.Conv1d(4, 6, 3), (4, 9)),
        "computed": function(F.conv2d, (2, 4, 5, 5), (3, 4, 2, 2)),
        "lowered": model(lambda: Lowered(False), (2, 4, 5, 5)),
        "lowered_transposed": model(lambda: Lowered(True), (2, 4, 5, 5)),
    },
    dynamic=(),
)


class Lowered(nn.Module):
    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.weight, self.transposed = nn.Parameter(torch.randn(4, 4, 3, 3)), transposed

    def forward(self, x: Tensor) -> Tensor:
        return lowered(x, self.weight, self.transposed)


@pytest.mark.parametrize("name", WHOLE | CUT)
def test_any_map_of_the_outputs_goes_into_the_weight(name: str) -> None:
    assert passage(name).up(ANY) == PASSES
    assert passage(name).up(SHIFT) == PASSES


@pytest.mark.parametrize("name", WHOLE)
def test_any_map_of_the_inputs_goes_into_the_weight_without_padding(name: str) -> None:
    assert passage(name).down(ANY) == PASSES
    assert passage(name).down(SHIFT) == PASSES


@pytest.mark.parametrize("name", CUT)
def test_only_a_multiplication_reaches_over_the_border(name: str) -> None:
    assert str(BORDER) == "zero padding: at the border its addition would be left out"
    assert passage(name).down(SCALE) == PASSES
    assert passage(name).down(SHIFT).endswith(f" reads it: {BORDER}")


def test_a_map_along_another_axis_is_refused() -> None:
    assert passage("plain2d").up(SCALE, axes=(1, 2, 3)) == (
        "it varies along axis 2, 3, the layer's channels are axis 1"
    )
    assert passage("plain1d").down(SCALE, axes=(2,)) == (
        "conv1d reads it: it varies along axis 2, the layer's channels are axis 1"
    )


def test_without_a_batch_axis_the_channels_are_axis_0() -> None:
    refusal = "the convolution has no batch axis: the norm's axis 1 is not its channels"
    assert fixed("unbatched").up(ANY, axes=(0,)) == PASSES
    assert fixed("unbatched").down(ANY, axes=(0,)) == PASSES
    assert fixed("unbatched").up(ANY) == refusal
    assert fixed("unbatched").down(ANY) == f"conv1d reads it: {refusal}"


def test_a_computed_weight_takes_no_map_of_the_input() -> None:
    weight = "the layer's weight is computed in the forward, not stored"
    assert fixed("computed").down(ANY) == f"conv2d reads it: {weight}"
    assert fixed("computed").down(SCALE, at=1) == (
        "conv2d reads it: it is the weight of a convolution"
    )


def test_the_general_operator_is_one_too_unless_it_is_transposed() -> None:
    refusal = "it is a transposed convolution in a lowered form"
    assert fixed("lowered").up(ANY) == PASSES
    assert fixed("lowered").down(ANY) == PASSES
    assert fixed("lowered_transposed").up(ANY) == refusal
    assert fixed("lowered_transposed").down(ANY) == f"convolution reads it: {refusal}"
