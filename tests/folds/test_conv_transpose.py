from collections.abc import Callable

import pytest
import torch
from torch import nn

import bnconvert as bnc
from tests.folds.test_conv import assert_all_fold
from tests.zoo import trained


@pytest.mark.parametrize(
    ("conv", "norm", "shape"),
    [
        (nn.ConvTranspose1d, nn.BatchNorm1d, (2, 4, 5)),
        (nn.ConvTranspose2d, nn.BatchNorm2d, (2, 4, 5, 4)),
        (nn.ConvTranspose3d, nn.BatchNorm3d, (2, 4, 3, 4, 3)),
    ],
)
def test_every_setting_folds(
    conv: Callable[..., nn.Module], norm: type[nn.Module], shape: tuple[int, ...]
) -> None:
    assert_all_fold(
        {
            "plain": (conv(4, 6, 3), norm(6)),
            "square": (conv(4, 4, 3, bias=False), norm(4)),
            "grouped": (conv(4, 6, 3, stride=2, groups=2), norm(6, bias=False)),
            "square_grouped": (conv(4, 4, 2, stride=2, groups=2), norm(4)),
            "depthwise": (conv(4, 4, 3, groups=4), norm(4, affine=False)),
            "multiplier": (conv(4, 8, 3, groups=4, bias=False), norm(8)),
            "padded": (conv(4, 6, 3, stride=2, padding=1, output_padding=1), norm(6)),
        },
        shape,
    )


def test_one_without_a_batch_axis_is_refused() -> None:
    model = trained(nn.Sequential(nn.ConvTranspose1d(3, 4, 1), nn.BatchNorm1d(5)))
    x = torch.randn(3, 5)
    folded = bnc.fold(model, (x,))
    assert folded.report.norms[0].reason.startswith("the convolution has no batch axis")
    torch.testing.assert_close(folded.module(x), model(x))
