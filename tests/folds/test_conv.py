"""Each convolution with a norm behind it, folded in float64 and compared with the model."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import bnconvert as bnc
from tests.zoo import trained

Branch = tuple[nn.Module, nn.Module]


class Branches(nn.Module):
    """Pairs of a layer and a norm over one input, so that one capture checks all of them."""

    def __init__(self, pairs: dict[str, Branch]) -> None:
        super().__init__()
        self.pairs = nn.ModuleDict({name: nn.Sequential(*pair) for name, pair in pairs.items()})

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: pair(x) for name, pair in self.pairs.items()}


def assert_all_fold(pairs: dict[str, Branch], shape: tuple[int, ...]) -> None:
    model = trained(Branches(pairs)).double()
    x = torch.randn(shape).double()
    folded = bnc.fold(model, (x,))
    assert [row.outcome for row in folded.report.norms] == ["folded"] * len(pairs)
    with torch.no_grad():
        expected, actual = model(x), folded.module(x)
    for name, value in expected.items():
        error = (actual[name] - value).abs().max() / value.abs().max()
        assert error < 1e-12, name


def variants(conv: Callable[..., nn.Module], norm: type[nn.Module]) -> dict[str, Branch]:
    settings: dict[str, dict[str, Any]] = {
        "plain": {},
        "no_bias": {"bias": False},
        "strided": {"stride": 2, "dilation": 2},
        "grouped": {"groups": 2},
        "depthwise": {"groups": 4},
        "reflect": {"padding": 1, "padding_mode": "reflect"},
        "circular": {"padding": 1, "padding_mode": "circular"},
        "same": {"padding": "same"},
    }
    if norm is not nn.BatchNorm3d:
        settings["replicate"] = {"padding": 1, "padding_mode": "replicate"}
    return {
        name: (conv(4, 8, 3, **kwargs), norm(8, affine=name != "strided", bias=name != "grouped"))
        for name, kwargs in settings.items()
    }


@pytest.mark.parametrize(
    ("conv", "norm", "shape"),
    [
        (nn.Conv1d, nn.BatchNorm1d, (2, 4, 9)),
        (nn.Conv2d, nn.BatchNorm2d, (2, 4, 9, 8)),
        (nn.Conv3d, nn.BatchNorm3d, (2, 4, 6, 7, 8)),
    ],
)
def test_every_setting_folds(
    conv: Callable[..., nn.Module], norm: type[nn.Module], shape: tuple[int, ...]
) -> None:
    assert_all_fold(variants(conv, norm), shape)


def test_a_conv_without_a_batch_axis_is_refused() -> None:
    """(C, L) behind an unbatched conv is (N, C) for the norm: axis 1 is not the channels."""
    model = trained(nn.Sequential(nn.Conv1d(3, 4, 1), nn.BatchNorm1d(5)))
    x = torch.randn(3, 5)
    folded = bnc.fold(model, (x,))
    (row,) = folded.report.norms
    assert row.reason == (
        "the convolution has no batch axis: the norm's axis 1 is not its channels"
    )
    torch.testing.assert_close(folded.module(x), model(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_weights_are_the_exact_ones_rounded_once(dtype: torch.dtype) -> None:
    model = trained(nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8))).to(dtype)
    x = torch.randn(2, 4, 6, 6)
    folded = bnc.fold(model, (x.to(dtype),)).module
    exact = bnc.fold(model.double(), (x.double(),)).module
    for name, value in folded.state_dict().items():
        assert value.dtype is dtype
        assert torch.equal(value, exact.state_dict()[name].to(dtype)), name
