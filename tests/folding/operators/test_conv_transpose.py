from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from torch import nn
from torch.nn import functional as F

from tests.excerpts import function, model
from tests.folding.operators.passage import ANY, PASSES, SCALE, SHIFT, Passages

#: Their arguments differ in type, by the number of axes.
CONVS: tuple[Callable[..., nn.Module], ...] = (
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
SHAPES = ((2, 4, 5), (2, 4, 5, 3), (2, 4, 3, 4, 3))
SETTINGS: dict[str, tuple[int, dict[str, Any]]] = {
    "plain": (6, {}),
    "square": (4, {"bias": False}),
    "grouped": (6, {"stride": 2, "groups": 2}),
    "square_grouped": (4, {"groups": 2, "padding": 1}),
    "depthwise": (4, {"groups": 4, "stride": 2, "padding": 1, "output_padding": 1}),
    "multiplied": (8, {"groups": 4, "bias": False, "dilation": 2}),
}
TRANSPOSED = {
    f"{name}{rank}d": model(partial(conv, 4, out, 3, **kwargs), shape)
    for name, (out, kwargs) in SETTINGS.items()
    for rank, conv, shape in zip((1, 2, 3), CONVS, SHAPES, strict=True)
    if rank == 2 or name in ("plain", "grouped")
}
passage = Passages(TRANSPOSED)
fixed = Passages(
    {
        "unbatched": model(lambda: nn.ConvTranspose1d(4, 6, 3), (4, 9)),
        "computed": function(F.conv_transpose1d, (2, 4, 5), (4, 3, 2)),
    },
    dynamic=(),
)


@pytest.mark.parametrize("name", TRANSPOSED)
def test_any_map_of_the_outputs_goes_into_the_weight(name: str) -> None:
    assert passage(name).up(ANY) == PASSES
    assert passage(name).up(SHIFT) == PASSES


@pytest.mark.parametrize("name", TRANSPOSED)
def test_only_a_multiplication_of_the_inputs_does(name: str) -> None:
    refusal = "reads it: a transposed convolution: its windows overlap unequally"
    assert passage(name).down(SCALE) == PASSES
    assert passage(name).down(SHIFT).endswith(refusal)
    assert passage(name).down(ANY).endswith(refusal)


def test_a_map_along_another_axis_is_refused() -> None:
    refusal = "it varies along axis 2, the layer's channels are axis 1"
    assert passage("plain1d").up(SCALE, axes=(2,)) == refusal
    assert passage("plain1d").down(SCALE, axes=(2,)) == f"conv_transpose1d reads it: {refusal}"


def test_without_a_batch_axis_the_channels_are_axis_0() -> None:
    refusal = "the convolution has no batch axis: the norm's axis 1 is not its channels"
    assert fixed("unbatched").up(ANY, axes=(0,)) == PASSES
    assert fixed("unbatched").down(SCALE, axes=(0,)) == PASSES
    assert fixed("unbatched").up(ANY) == refusal


def test_a_computed_weight_is_refused() -> None:
    refusal = "the layer's weight is computed in the forward, not stored"
    assert fixed("computed").up(ANY) == refusal
    assert fixed("computed").down(SCALE) == f"conv_transpose1d reads it: {refusal}"
    assert fixed("computed").down(SCALE, at=1) == (
        "conv_transpose1d reads it: it is the weight of a convolution"
    )
