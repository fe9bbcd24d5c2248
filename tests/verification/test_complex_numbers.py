"""A file of complex inputs or outputs holds real and imaginary parts, and is judged by them."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.verification.complex_numbers import in_real_numbers
from tests.zoo import trained

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
Z = torch.complex(X, X.flip(0))


class Spectral(nn.Module):
    """A layer and a norm, and what is made of complex numbers before and after them."""

    def __init__(self, before: Callable[[Tensor], Tensor], after: Callable[[Tensor], Tensor]):
        super().__init__()
        self.layer, self.norm = nn.Linear(6, 6), nn.BatchNorm1d(6)
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.norm(self.layer(self.before(x))))


MODELS: dict[str, tuple[Spectral, Tensor]] = {
    "a spectrum": (Spectral(lambda x: x, torch.fft.rfft), X),
    "a conjugate": (Spectral(lambda x: x, lambda y: torch.fft.rfft(y).conj()), X),
    "of complex inputs": (Spectral(lambda z: z.real + 2 * z.imag, lambda y: y), Z),
    "both": (Spectral(lambda z: z.real - z.imag, lambda y: torch.complex(y, 2 * y)), Z),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_right_file_agrees(name: str, tmp_path: Path) -> None:
    model, inputs = MODELS[name]
    report = bnc.export(trained(model), (inputs,), tmp_path / "m.onnx")
    assert report.verdict == "agrees"
    assert not [note for note in report.notes if "float64" in note], "the truth is in float64"


def test_a_wrong_imaginary_part_is_caught(tmp_path: Path) -> None:
    model, inputs = MODELS["both"]
    path = tmp_path / "m.onnx"
    bnc.export(trained(model), (inputs,), path)
    file = onnx.load(path)
    for tensor in file.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.size == 1 and float(values.flatten()[0]) == 2.0:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values * 0 + 2.01, tensor.name))
    onnx.save(file, path)
    with pytest.raises(bnc.VerificationError):
        bnc.verify(model, path, (inputs,))


def test_real_numbers_stay_as_they_are() -> None:
    assert in_real_numbers(X) is X
    assert torch.equal(in_real_numbers(Z.conj()), torch.stack([Z.real, -Z.imag], -1))
