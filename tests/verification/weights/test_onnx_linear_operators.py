"""Weights are read as matrices from input to output channels, whatever operator multiplies them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch.nn import functional as F

from bnconvert.verification.files.onnx_runner import OnnxRunner
from bnconvert.verification.weights.onnx_linear_operators import LinearOperator, linear_operators

#: By name: the operator, the shape of its weight w, and of x.
OPERATORS = {
    "convolution": ("Conv(x, w, b)", (6, 4, 3, 3), (2, 4, 5, 5)),
    "of one axis": ("Conv(x, w, b)", (6, 4, 3), (2, 4, 5)),
    "grouped": ("Conv<group = 2>(x, w, b)", (6, 2, 3, 3), (2, 4, 5, 5)),
    "transposed": ("ConvTranspose(x, w, b)", (4, 6, 1, 1), (2, 4, 5, 5)),
    "transposed, grouped": ("ConvTranspose<group = 2>(x, w, b)", (4, 3, 1, 1), (2, 4, 5, 5)),
    "Gemm": ("Gemm(x, w, b)", (4, 6), (2, 4)),
    "Gemm, turned": ("Gemm<transB = 1>(x, w, b)", (6, 4), (2, 4)),
    "MatMul": ("MatMul(x, w)", (4, 6), (2, 3, 4)),
    "computed": ("MatMul(x, t)", (6, 4), (2, 3, 4)),
}


def written(path: Path, body: str, shape: tuple[int, ...], rank: int = 4) -> Path:
    axes = ", ".join("ABCD"[:rank])
    computed = "t = Transpose <perm = [1, 0]> (w) " if "t)" in body else ""
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 18]> f (float[{axes}] x) => (float[{axes}] y) '
        f"{{ {computed} y = {body} }}"
    )
    draw = np.random.default_rng(0)
    for name, size in (("w", shape), ("b", (6,))):
        number = draw.normal(size=size).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(number, name))
    onnx.save(model, str(path))
    return path


def applied(linear: LinearOperator, x: torch.Tensor) -> torch.Tensor:
    """Multiply the channels of x by the weights as they were read."""
    bias, weight = linear.bias, linear.weight
    if linear.axis == -1:
        return F.linear(x, weight[..., 0], bias)
    side = [1] * (x.dim() - 2) if weight.shape[2] == 1 else [3] * (x.dim() - 2)
    kernel = weight.reshape(*weight.shape[:2], *side)
    convolve = F.conv1d if x.dim() == 3 else F.conv2d
    return convolve(x, kernel, bias, groups=linear.groups)


@pytest.mark.parametrize("kind", OPERATORS)
def test_the_weights_that_are_read_compute_what_the_operator_does(
    kind: str, tmp_path: Path
) -> None:
    body, shape, given = OPERATORS[kind]
    path = written(tmp_path / "m.onnx", body, shape, len(given))
    x = torch.randn(given, generator=torch.Generator().manual_seed(1))
    (linear,) = linear_operators(path)
    file = OnnxRunner(path)
    outputs = file.run(file.feed([("x", x)]))
    assert not isinstance(outputs, str)
    torch.testing.assert_close(applied(linear, x), outputs[0], rtol=1e-4, atol=1e-5)
    assert (linear.channels, len(linear.weight)) == (4, 6)


def test_the_weights_of_a_channel_are_those_of_its_group(tmp_path: Path) -> None:
    body, shape, _ = OPERATORS["grouped"]
    (linear,) = linear_operators(written(tmp_path / "m.onnx", body, shape))
    third = torch.tensor([False, False, True, False])
    assert linear.of_channels(third).tolist() == [[False, False]] * 3 + [[True, False]] * 3


def test_what_an_input_decides_is_no_weight(tmp_path: Path) -> None:
    assert linear_operators(written(tmp_path / "m.onnx", "MatMul(x, x)", (4, 6), 2)) == []
