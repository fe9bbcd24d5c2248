"""The first operator of a file that computes something else than another file."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import bnconvert as bnc
from bnconvert.verification.values.file_divergence import find_file_divergence

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
BODIES = {
    "integers": "i = ArgMax <axis = 1, keepdims = 1> (l)",
    "truth values": "i = Greater(l, zero)",
}


def written(path: Path, body: str, fault: float = 1.0, dtype: str = "float") -> Path:
    """Write a file whose weights have one wrong column where asked to."""
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 18]> f ({dtype}[N, 6] x) => ({dtype}[N, 5] y) '
        f"<float zero = {{0.0}}> {{ {body} }}"
    )
    weight = np.random.default_rng(3).normal(size=(6, 5)).astype(np.float32)
    weight[:, 1] *= fault
    kind = np.float16 if "to = 10" in body else np.float32
    model.graph.initializer.append(numpy_helper.from_array(weight.astype(kind), "w"))
    onnx.save(model, str(path))
    return path


def said(reference: Path, candidate: Path) -> str:
    with pytest.raises(bnc.VerificationError) as failure:
        bnc.verify(reference, candidate, (X,))
    (finding,) = failure.value.report.findings
    return str(finding.message)


@pytest.mark.parametrize("kind", BODIES)
def test_what_is_no_number_with_a_fraction_does_not_end_the_search(
    kind: str, tmp_path: Path
) -> None:
    body = f"l = MatMul(x, w) {BODIES[kind]} c = Cast <to = 1> (i) y = Add(l, c)"
    right, wrong = (written(tmp_path / f"{f}.onnx", body, f) for f in (1.0, 1.2))
    assert said(right, wrong).startswith("the MatMul that computes l is the first operator")
    assert bnc.verify(right, right, (X,)).verdict == "agrees"


def test_the_cast_of_an_input_to_half_precision_is_right(tmp_path: Path) -> None:
    right = written(tmp_path / "right.onnx", "y = MatMul(x, w)")
    half = "a = Cast <to = 10> (x) b = MatMul(a, w) y = Cast <to = 1> (b)"
    assert bnc.verify(right, written(tmp_path / "half.onnx", half), (X,)).verdict == "agrees"
    wrong = written(tmp_path / "wrong.onnx", half, 1.3)
    assert said(right, wrong).startswith("the MatMul that computes b is the first operator")


def test_an_input_on_which_a_file_does_not_run_is_not_the_last_that_is_tried(
    tmp_path: Path,
) -> None:
    right = written(tmp_path / "right.onnx", "y = MatMul(x, w)")
    wrong = written(tmp_path / "wrong.onnx", "y = MatMul(x, w)", 1.3)
    failing, running = [("x", X[:, :3])], [("x", X)]
    found = find_file_divergence((right, right), wrong, [failing, running])
    assert found is not None
    assert "the MatMul that computes y is the first operator" in found.message
    found = find_file_divergence((right, right), wrong, [failing])
    assert found is not None
    assert "where the files diverge could not be found" in found.message
    assert find_file_divergence((right, right), right, [running]) is None


def test_a_file_whose_operators_are_not_sorted_is_searched_in_their_order(tmp_path: Path) -> None:
    """onnxruntime's converter to float16 appends the casts of inputs to the others."""
    right = written(tmp_path / "right.onnx", "y = MatMul(x, w)")
    body = "a = Cast <to = 10> (x) b = MatMul(a, w) y = Cast <to = 1> (b)"
    wrong = written(tmp_path / "wrong.onnx", body, 1.3)
    model = onnx.load(str(wrong))
    nodes = [*model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    onnx.save(model, str(wrong))
    assert said(right, wrong).startswith("the MatMul that computes b is the first operator")


def deep(path: Path, place: int = 0, fault: float = 1.0) -> Path:
    """Write twelve residual layers in float16, one of them with a fault where asked to."""
    layers = [f"a{i} = MatMul(h{i}, w{i}) t{i} = Tanh(a{i}) h{i + 1} = Add(h{i}, t{i})"
              for i in range(12)]  # fmt: skip
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> f (float[N, 32] x) => (float[N, 32] y) '
        f"{{ h0 = Cast <to = 10> (x) {' '.join(layers)} y = Cast <to = 1> (h12) }}"
    )
    random = np.random.default_rng(0)
    for number in range(12):
        weight = random.normal(size=(32, 32)) * 0.1 * (fault if number == place else 1.0)
        model.graph.initializer.append(
            numpy_helper.from_array(weight.astype(np.float16), f"w{number}")
        )
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("place", [2, 9])
def test_a_fault_no_larger_than_all_roundings_together_is_found(place: int, tmp_path: Path) -> None:
    """Each value is computed from the candidate's own, so that errors do not add up."""
    right, wrong = deep(tmp_path / "a.onnx"), deep(tmp_path / "b.onnx", place, 1.05)
    x = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    with pytest.raises(bnc.VerificationError) as failure:
        bnc.verify(right, wrong, (x,))
    (finding,) = failure.value.report.findings
    assert finding.message.startswith(f"the MatMul that computes a{place} is the first operator")
