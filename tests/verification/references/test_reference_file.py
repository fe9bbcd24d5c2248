"""How far a right file may be from a reference file: by the lower precision of the two."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.verification.files.onnx_runner import OnnxRunner
from bnconvert.verification.references.reference_file import ReferenceFile

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(4, 6, generator=GENERATOR)
S = torch.randn(4, 6, generator=GENERATOR).half()
DTYPES = {"float16": np.float16, "float": np.float32, "double": np.float64}


def linear(path: Path, dtype: str, fault: float = 1.0) -> Path:
    """Write a file that computes x @ w in a dtype, with one wrong column where asked to."""
    weight = np.random.default_rng(3).normal(size=(6, 5))
    weight[:, 1] *= fault
    return _saved(path, f"({dtype}[N, 6] x) => ({dtype}[N, 5] y) {{ y = MatMul(x, w) }}", weight)


def with_half_input(path: Path, dtype: str, fault: float = 1.0) -> Path:
    """Write x @ w + s / 100 in a dtype, of a float32 x and a float16 s."""
    to = {"float16": 10, "float": 1}[dtype]
    weight = np.random.default_rng(3).normal(size=(6, 6))
    weight[:, 1] *= fault
    body = (
        f"(float[N, 6] x, float16[N, 6] s) => (float[N, 6] y) {{ a = Cast <to = {to}> (x) "
        f"b = Cast <to = {to}> (s) c = MatMul(a, w) h = Constant <value = float[1] {{0.01}}> () "
        f"k = Cast <to = {to}> (h) d = Mul(b, k) e = Add(c, d) y = Cast <to = 1> (e) }}"
    )
    return _saved(path, body, weight.astype(DTYPES[dtype]))


def _saved(path: Path, body: str, weight: np.ndarray) -> Path:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> f {body}')
    kind = "float16" if "(float16" in body else "double" if "(double" in body else "float"
    values = weight if weight.dtype != np.float64 else weight.astype(DTYPES[kind])
    model.graph.initializer.append(numpy_helper.from_array(values, "w"))
    onnx.save(model, str(path))
    return path


def test_a_half_input_is_moved_by_its_own_rounding_and_hides_no_fault(tmp_path: Path) -> None:
    reference = with_half_input(tmp_path / "reference.onnx", "float")
    right = with_half_input(tmp_path / "right.onnx", "float16")
    assert bnc.verify(reference, right, (X, S)).verdict == "agrees"
    wrong = with_half_input(tmp_path / "wrong.onnx", "float16", 1.05)
    with pytest.raises(bnc.VerificationError):
        bnc.verify(reference, wrong, (X, S))


def test_files_of_half_inputs_are_judged(tmp_path: Path) -> None:
    reference, twin = (linear(tmp_path / f"{name}.onnx", "float16") for name in "ab")
    assert bnc.verify(reference, twin, (X.half(),)).verdict == "agrees"
    with pytest.raises(bnc.VerificationError):
        bnc.verify(reference, linear(tmp_path / "c.onnx", "float16", 1.05), (X.half(),))


def test_answers_do_not_depend_on_what_was_asked_before(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx", "float")
    reference = ReferenceFile(path, OnnxRunner(path), ["x"], 0.0, tmp_path)
    first, other = Example.of((X,)), Example.of((X[:2],))
    before = reference.answers(first).perturbed
    reference.answers(other)
    after = reference.answers(first).perturbed
    assert before is not None
    assert after is not None
    assert torch.equal(before[0], after[0])


@pytest.mark.parametrize(("dtype", "fault"), [("float16", 1.05), ("double", 1.0001)])
def test_a_right_float32_file_agrees_with_a_reference_of_another_precision(
    dtype: str, fault: float, tmp_path: Path
) -> None:
    reference = linear(tmp_path / "reference.onnx", dtype)
    x = X.to({"float16": torch.float16, "double": torch.float64}[dtype])
    report = bnc.verify(reference, linear(tmp_path / "right.onnx", "float"), (x,))
    assert report.verdict == "agrees"
    assert ("reference.onnx computes in float16" in report.notes) is (dtype == "float16")
    with pytest.raises(bnc.VerificationError, match="the MatMul that computes y is the first"):
        bnc.verify(reference, linear(tmp_path / "wrong.onnx", "float", fault), (x,))


def test_a_file_whose_weights_are_rounded_otherwise_agrees_in_each_of_many_numbers(
    tmp_path: Path,
) -> None:
    """A thousand channels of one number, which are near zero by chance and hardly heed x."""
    generator = np.random.default_rng(0)
    shift, scale = generator.normal(size=64), generator.uniform(0.5, 2, size=64)
    weight = generator.normal(size=(64, 1000)) * 1e-3
    body = (
        "f (float[N, 64] x) => (float[N, 1000] y) { m = Mul(x, s) h = Add(m, b) y = MatMul(h, w) }"
    )
    reference, candidate = tmp_path / "reference.onnx", tmp_path / "candidate.onnx"
    for path, by, wrong in (
        (reference, np.ones(64), 1.0),
        (candidate, scale, 1.0),
        (tmp_path / "wrong.onnx", scale, 1.0001),
    ):
        weight[:, 7] *= wrong
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {body}')
        for key, value in (("s", 1e-3 * by), ("b", shift * by), ("w", weight / by[:, None])):
            tensor = numpy_helper.from_array(np.asarray(value, np.float32), key)
            model.graph.initializer.append(tensor)
        onnx.save(model, str(path))
    x = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    assert bnc.verify(reference, candidate, (x,)).verdict == "agrees"
    with pytest.raises(bnc.VerificationError):
        bnc.verify(reference, tmp_path / "wrong.onnx", (x,))
