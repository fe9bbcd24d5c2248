"""How far a right file may be from a value inside a reference."""

from pathlib import Path

import onnx
import pytest
import torch

from bnconvert.verification.files.onnx_moved_weights import with_moved_weights
from bnconvert.verification.rounding.lowered_precision import FLOAT16
from bnconvert.verification.values.reference_values import ReferenceValues

X = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def reference(tmp_path: Path) -> ReferenceValues:
    """Return eight multiplications one after the other, each of which rounds."""
    steps = " ".join(f"h{i + 1} = Mul(h{i}, w)" for i in range(8))
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> f (float[N, 4] x) => (float[N, 4] h8) '
        f"<float[4] w = {{1.1, 0.9, 1.2, 0.8}}> {{ h0 = Identity(x) {steps} }}"
    )
    path, other = tmp_path / "m.onnx", tmp_path / "moved.onnx"
    onnx.save(model, str(path))
    with_moved_weights(path, other, FLOAT16.eps, torch.Generator().manual_seed(0))
    return ReferenceValues((path, other), [("x", X)], FLOAT16, tmp_path)


def test_what_is_computed_from_given_values_may_be_off_by_less(reference: ReferenceValues) -> None:
    found = reference.all()
    given = {name: value.exact.float() for name, value in found.items() if name != "x"}
    local = reference.computed_from(given)
    assert local["h8"].allowed["norm"] < found["h8"].allowed["norm"] / 2
    nearly = found["h8"].exact * (1 + found["h8"].allowed["norm"] * 0.7)
    assert found["h8"].error_of(nearly) is not None
    assert local["h8"].error_of(nearly) is None
    assert local["h8"].error_of(found["h8"].exact.half()) is not None


def test_a_wrong_part_is_no_right_value(reference: ReferenceValues) -> None:
    value = reference.all()["h1"]
    wrong = value.exact.clone()
    wrong[:, 3] *= 1.05
    assert value.error_of(wrong) is None
    assert value.dtype is torch.float32
