"""Casts inside a model are lifted, so that it has float64 answers and files can be judged."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.verification.references.reference import Reference
from bnconvert.verification.rounding.exact_precision import ExactPrecision
from bnconvert.verification.tolerance import Tolerance
from tests.zoo import IMAGE, trained

EXAMPLE = Example.of(IMAGE)


class Mixed(nn.Module):
    """A body in some lower precision, by the user's function, and a head in float32."""

    def __init__(self, lower: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.head, self.lower = nn.Linear(8, 4), lower

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.lower(self.body, x).mean((2, 3)).float())
        return y


def autocast(dtype: torch.dtype) -> Callable[[nn.Module, Tensor], Tensor]:
    def lower(body: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=dtype):
            y: Tensor = body(x)
        return y

    return lower


def added_to_constants(body: nn.Module, x: Tensor) -> Tensor:
    scale = torch.full((1, 8, 1, 1), 0.5, dtype=torch.float16)
    y = torch.empty(body(x).shape, dtype=torch.float16)
    y.copy_(body(x)).add_(scale)
    return y


LOWER: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "autocast to float16": autocast(torch.float16),
    "autocast to bfloat16": autocast(torch.bfloat16),
    "half()": lambda body, x: body(x).half(),
    "to(bfloat16)": lambda body, x: body(x).to(torch.bfloat16),
    "type(float16)": lambda body, x: body(x).type(torch.float16),
    "to(dtype=, copy=)": lambda body, x: body(x).to(dtype=torch.float16, copy=True).float(),
    "as another tensor": lambda body, x: body(x).type_as(torch.ones(1, dtype=torch.float16)),
    "constants": added_to_constants,
    "float8 and back": lambda body, x: body(x).to(torch.float8_e4m3fn).float(),
}


@pytest.mark.parametrize("name", LOWER)
def test_the_float64_answers_know_no_cast(name: str) -> None:
    torch.manual_seed(0)
    model = trained(Mixed(LOWER[name]))
    reference = Reference(model)
    answers = reference.answers(EXAMPLE)
    assert reference.notes == []
    shift = 0.5 if name == "constants" else 0.0
    model.lower = lambda body, x: body(x) + shift
    with torch.no_grad():
        exact = model.double()
        features = exact.lower(exact.body, IMAGE[0].double()).mean((2, 3))
        expected = exact.head(features)
    torch.testing.assert_close(answers.true[0], expected, rtol=1e-12, atol=1e-12)
    assert answers.native[0].dtype is torch.float32
    own = Tolerance.of([answers]).model_error[0, "norm"]
    assert 1e-6 < own < 0.1, "it is the error of the lower precision"


def test_fake_quantization_and_a_block_in_half_are_lifted() -> None:
    class Quantized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Conv2d(3, 4, 1).half()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.block(x.half()).float()
            return torch.fake_quantize_per_tensor_affine(y, 0.1, 0, -128, 127)

    reference = Reference(Quantized().eval())
    true = reference.answers(EXAMPLE).true[0]
    assert reference.notes == []
    assert true.dtype is torch.float64


def test_views_are_written_through_and_integers_stay() -> None:
    x, kept = torch.randn(2, 3, dtype=torch.float64), torch.zeros(4, 3)
    with ExactPrecision():
        kept[1:3].copy_(x)
        kept[0] += x[0]
        numbers = torch.arange(3) + x.to(torch.int32).sum().to(torch.int64)
        joined = torch.cat([kept[1:3], x], 1)
    assert torch.equal(kept[1:3], x.float())
    assert torch.equal(kept[0], x[0].float())
    assert kept.dtype is torch.float32
    assert numbers.dtype is torch.int64
    assert joined.dtype is torch.float64


def test_an_operator_without_a_float64_kernel_runs_in_float32() -> None:
    x, scale, zero = (
        torch.tensor([0.9]).double(),
        torch.tensor([0.5]).double(),
        torch.zeros(1).int(),
    )
    with pytest.raises(RuntimeError):
        torch.fake_quantize_per_channel_affine(x, scale, zero, 0, -9, 9)
    with ExactPrecision():
        quantized = torch.fake_quantize_per_channel_affine(x, scale, zero, 0, -9, 9)
    assert torch.equal(quantized, torch.ones(1).double())


def test_a_right_file_of_a_model_with_autocast_is_proven_and_a_wrong_one_is_not(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    model, path = trained(Mixed(autocast(torch.float16))), tmp_path / "m.onnx"
    assert bnc.export(model, IMAGE, path).failures == ()
    file = onnx.load(path)
    for weight in file.graph.initializer:
        array = onnx.numpy_helper.to_array(weight)
        if array.ndim == 4:
            wrong = (array * 1.02).astype(array.dtype)
            weight.CopyFrom(onnx.numpy_helper.from_array(wrong, weight.name))
    onnx.save(file, path)
    with pytest.raises(bnc.VerificationError):
        bnc.verify(model, path, IMAGE)
