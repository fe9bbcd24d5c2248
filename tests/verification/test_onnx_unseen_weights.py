"""A file that agrees whatever some of its weights are says so."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import bnconvert as bnc

X = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
BODIES = {
    "an index": "s = MatMul(x, w) i = ArgMax <axis = 1, keepdims = 1> (s) c = Cast <to = 1> (i) "
    "m = ReduceSum <keepdims = 1> (x, n1) y = Add(m, c)",
    "a ReLU that is zero": "s = MatMul(x, w) b = Sub(s, far) r = Relu(b) y = Add(x, r)",
}


def written(path: Path, body: str, fault: float = 1.0) -> Path:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> f (float[N, 5] x) => (float[N, M] y) '
        f"<float far = {{100.0}}, int64[1] n1 = {{1}}> {{ {body} }}"
    )
    weight = np.random.default_rng(1).normal(size=(5, 5)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight * np.float32(fault), "w"))
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("hidden", BODIES)
def test_a_fault_that_no_output_shows_is_said_to_be_possible(hidden: str, tmp_path: Path) -> None:
    right = written(tmp_path / "right.onnx", BODIES[hidden])
    report = bnc.verify(right, written(tmp_path / "wrong.onnx", BODIES[hidden], 1.5), (X,))
    (finding,) = report.findings
    assert (finding.id, finding.severity, report.verdict) == ("BN413", "warning", "agrees")
    assert "the weights of the MatMul that computes s" in finding.message


@pytest.mark.parametrize("hidden", BODIES)
def test_weights_that_the_reference_shows_inside_are_seen(hidden: str, tmp_path: Path) -> None:
    right = written(tmp_path / "right.onnx", BODIES[hidden])
    assert bnc.verify(right, right, (X,)).findings == ()


def test_weights_that_meet_nothing_but_zeros_are_not(tmp_path: Path) -> None:
    body = "b = Sub(x, far) r = Relu(b) s = MatMul(r, w) y = Add(x, s)"
    right = written(tmp_path / "right.onnx", body)
    (finding,) = bnc.verify(right, right, (X,)).findings
    assert "the weights of the MatMul that computes s move no output" in finding.message
