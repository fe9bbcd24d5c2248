import pytest
import torch

from bnconvert.graphs.example import Example
from bnconvert.verification.raw_inputs import RawInput, as_floating, denormalized, normalized

MEAN, STD = torch.tensor([123.675, 116.28]).double(), torch.tensor([58.395, 57.12]).double()


def raw(axis: int | None, dtype: torch.dtype = torch.float32) -> RawInput:
    mean, std = (MEAN, STD) if axis is not None else (MEAN[0], STD[0])
    return RawInput("x", 0, 0, axis, mean, std, dtype)


@pytest.mark.parametrize("axis", [-1, -2, -3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int32, torch.half, torch.double])
def test_raw_inputs_are_normalized_in_float64_along_their_axis(
    axis: int, dtype: torch.dtype
) -> None:
    x = torch.randint(0, 256, (2, 2, 2, 2)).to(dtype)
    (y,) = normalized(Example((x,), {}), [raw(axis)], exact=True).args
    shape = [2, *[1] * (-1 - axis)]
    torch.testing.assert_close(y, (x.double() - MEAN.view(shape)) / STD.view(shape))
    assert y.is_contiguous()


def test_otherwise_they_are_rounded_to_the_models_dtype_once() -> None:
    x = torch.randint(0, 256, (2, 3), dtype=torch.uint8)
    (y,) = normalized(Example((x,), {}), [raw(None, torch.bfloat16)], exact=False).args
    expected = ((x.double() - MEAN[0]) / STD[0]).bfloat16()
    torch.testing.assert_close(y, expected)
    assert y.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int32, torch.float32])
def test_raw_numbers_are_drawn_so_that_the_model_gets_ones_around_0(dtype: torch.dtype) -> None:
    scaled = raw(-2, torch.float32)
    if dtype == torch.bool:
        scaled = RawInput("x", 0, 0, None, torch.tensor(0.5), torch.tensor(0.5), torch.float32)
    example = Example((torch.zeros(50, 2, 40, dtype=dtype),), {})
    drawn = denormalized(example, [scaled], torch.Generator().manual_seed(0))
    assert drawn.args[0].dtype == dtype
    (y,) = normalized(drawn, [scaled], exact=True).args
    assert abs(float(y.mean())) < 0.2
    assert 0.7 < float(y.std()) < 1.3


def test_only_raw_integers_become_floating_so_that_they_can_be_perturbed() -> None:
    x, ids = torch.arange(4, dtype=torch.uint8), torch.arange(4)
    args = as_floating(Example((x, ids), {}), [raw(None, torch.half)]).args
    assert [t.dtype for t in args] == [torch.float32, torch.int64]
    half = as_floating(Example((x.half(),), {}), [raw(None)]).args[0]
    assert half.dtype == torch.half
