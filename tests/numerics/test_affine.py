from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from bnconvert.numerics.affine import (
    Affine,
    batch_norm_affine,
    fold_after_conv_transpose,
    fold_after_linear,
)

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def some_affine(channels: int) -> Affine:
    return Affine(torch.randn(channels).double(), torch.randn(channels).double())


def applied(affine: Affine, y: Tensor) -> Tensor:
    shape = (1, -1) + (1,) * (y.dim() - 2)
    return y * affine.scale.reshape(shape) + affine.shift.reshape(shape)


@pytest.mark.parametrize("with_weight", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
def test_eval_batch_norm_is_this_scale_and_shift(with_weight: bool, with_bias: bool) -> None:
    mean, var = torch.randn(4).double(), torch.rand(4).double() + 0.1
    weight = torch.randn(4).double() if with_weight else None
    bias = torch.randn(4).double() if with_bias else None
    affine = batch_norm_affine(mean, var, weight, bias, 1e-3)
    x = torch.randn(2, 4, 3).double()
    expected = F.batch_norm(x, mean, var, weight, bias, False, 0.0, 1e-3)
    torch.testing.assert_close(applied(affine, x), expected, rtol=1e-13, atol=1e-13)


def test_not_a_number_and_negative_variance_are_not_finite() -> None:
    one = torch.ones(2)
    assert batch_norm_affine(one, one, None, None, 1e-5).is_finite()
    for mean, var in ((one * torch.nan, one), (one, -one), (one, one * torch.nan)):
        assert not batch_norm_affine(mean, var, None, None, 1e-5).is_finite()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda b: nn.Conv1d(4, 6, 3, bias=b), (2, 4, 9)),
        (lambda b: nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=b), (2, 4, 5, 6)),
        (lambda b: nn.Conv2d(4, 8, 3, stride=2, groups=4, bias=b), (2, 4, 7, 6)),
        (lambda b: nn.Conv3d(4, 6, 2, dilation=2, bias=b), (2, 4, 5, 4, 5)),
        (lambda b: nn.Linear(4, 6, bias=b), (3, 4)),
    ],
)
def test_a_layer_with_its_output_axis_first(
    layer: Callable[[bool], nn.Module], shape: tuple[int, ...], bias: bool
) -> None:
    module, x = layer(bias).double(), torch.randn(shape).double()
    affine = some_affine(module.weight.shape[0])
    expected = applied(affine, module(x))
    weight, new_bias = fold_after_linear(module.weight, module.bias, affine)
    module.weight, module.bias = nn.Parameter(weight), nn.Parameter(new_bias)
    torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("inputs", "outputs", "groups"), [(4, 6, 1), (4, 4, 1), (4, 8, 2), (4, 4, 4), (4, 8, 4)]
)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_transposed_convolution(
    axes: int, inputs: int, outputs: int, groups: int, bias: bool
) -> None:
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[axes - 1]
    module = kind(inputs, outputs, 3, stride=2, output_padding=1, groups=groups, bias=bias).double()
    x, affine = torch.randn((2, inputs) + (4,) * axes).double(), some_affine(outputs)
    expected = applied(affine, module(x))
    weight, new_bias = fold_after_conv_transpose(module.weight, module.bias, affine, groups)
    module.weight, module.bias = nn.Parameter(weight), nn.Parameter(new_bias)
    torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_result_is_rounded_once(dtype: torch.dtype) -> None:
    """Two roundings, as in torch's fuse, cost 4x the error in bfloat16."""
    weight, bias = torch.randn(6, 3, 3, 3).to(dtype), torch.randn(6).to(dtype)
    affine = some_affine(6)
    exact = weight.double() * affine.scale.reshape(-1, 1, 1, 1)
    new_weight, new_bias = fold_after_linear(weight, bias, affine)
    assert new_weight.dtype is new_bias.dtype is dtype
    assert torch.equal(new_weight, exact.to(dtype))
    assert torch.equal(new_bias, (bias.double() * affine.scale + affine.shift).to(dtype))


def test_it_agrees_with_torchs_own_fold_where_that_is_right() -> None:
    conv, norm = nn.Conv2d(3, 6, 3).double(), nn.BatchNorm2d(6).double()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    nn.init.normal_(norm.weight)
    peer = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, 1e-5, norm.weight, norm.bias
    )
    affine = batch_norm_affine(norm.running_mean, norm.running_var, norm.weight, norm.bias, 1e-5)
    for ours, theirs in zip(fold_after_linear(conv.weight, conv.bias, affine), peer, strict=True):
        torch.testing.assert_close(ours, theirs.data, rtol=1e-12, atol=1e-12)


def test_the_memory_format_of_the_weight_stays() -> None:
    weight = torch.randn(6, 3, 3, 3).to(memory_format=torch.channels_last)
    folded, _ = fold_after_linear(weight, None, some_affine(6))
    assert folded.is_contiguous(memory_format=torch.channels_last)
