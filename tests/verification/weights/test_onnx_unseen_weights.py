"""A file that agrees whatever some of its weights are says so."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import bnconvert as bnc
from tests.zoo import trained

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


#: Two layers with an activation between them, and what must be seen of them.
LAYERS = {
    "Relu": ("Relu(a)", 4),
    "Clip": ("Clip(a, zero, six)", 4),
    "a pool after Relu": ("Relu(a) q = MaxPool<kernel_shape = [2, 2]>(p)", 4),
}


def convolved(
    path: Path, between: str, dead: int, *, first: float = 1.0, second: float = 1.0
) -> Path:
    """Write two convolutions, of whose values between one channel is far below zero.

    Args:
        path: where.
        between: the operators from a to p, or from a to q.
        dead: the channel.
        first: the factor of the weights that compute the channel.
        second: the factor of those that multiply it.
    """
    last = "q" if "q = " in between else "p"
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> f (float[N, 3, 6, 6] x) => (float[N, M, H, W] y) '
        "<float zero = {0.0}, float six = {6.0}> "
        f"{{ a = Conv(x, w, b) p = {between} y = Conv({last}, v) }}"
    )
    draw = np.random.default_rng(1)
    w, v = draw.normal(size=(8, 3, 3, 3)) / 5, draw.normal(size=(5, 8, 1, 1)) / 3
    b = np.zeros(8)
    b[dead] = -1e3
    w[dead] *= first
    v[:, dead] *= second
    for name, value in (("w", w), ("v", v), ("b", b)):
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    onnx.save(model, str(path))
    return path


IMAGES = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("between", [text for text, _ in LAYERS.values()], ids=[*LAYERS])
def test_one_channel_that_is_never_seen_is_said_of_the_weight(between: str, tmp_path: Path) -> None:
    right = convolved(tmp_path / "right.onnx", between, 4)
    assert bnc.verify(right, right, (IMAGES,)).findings == ()
    wrong = convolved(tmp_path / "wrong.onnx", between, 4, first=1.5)
    (finding,) = bnc.verify(right, wrong, (IMAGES,)).findings
    assert (finding.id, finding.severity) == ("BN413", "warning")
    assert "the Conv that computes a (1 of 8 output channels) move no" in finding.message
    wrong = convolved(tmp_path / "wrong.onnx", between, 4, second=-1.0)
    (finding,) = bnc.verify(right, wrong, (IMAGES,)).findings
    assert "the Conv that computes y (1 of 8 input channels) move no" in finding.message


class Blocks(nn.Module):
    """Two layers with norms, whose values between have dead channels, as random networks have."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.second, self.other = nn.Conv2d(8, 8, 3, groups=2), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.other(self.second(self.norm(self.first(x)).relu())).relu()
        y: torch.Tensor = self.head(x.mean((2, 3)))
        return y


def test_weights_that_are_the_references_need_no_input_that_shows_them(tmp_path: Path) -> None:
    model = trained(Blocks())
    with torch.no_grad():
        model.norm.bias[2:4] = model.other.bias[5] = -100.0
    torch.onnx.export(model, (IMAGES,), str(tmp_path / "right.onnx"), dynamo=True, verbose=False)
    bnc.export(model, (IMAGES,), tmp_path / "folded.onnx")
    report = bnc.verify(tmp_path / "right.onnx", tmp_path / "folded.onnx", (IMAGES,))
    assert report.findings == ()
    with torch.no_grad():
        model.head.weight[1, 5] += 0.01
        model.second.weight[0, 2] *= -1
    bnc.export(model, (IMAGES,), tmp_path / "wrong.onnx")
    (finding,) = bnc.verify(tmp_path / "right.onnx", tmp_path / "wrong.onnx", (IMAGES,)).findings
    assert "(2 of 8 input" in finding.message
    assert "(1 of 8 input channels)" in finding.message
