"""A channel is shown where something that is compared moves with it."""

from pathlib import Path

import onnx
import pytest
import torch

from bnconvert.verification.files.onnx_graph import OnnxGraph, graph_of
from bnconvert.verification.weights.onnx_shown_values import ShownChannels

X = torch.tensor([[1.0, -2.0, 3.0], [2.0, -1.0, 8.0]])
#: By the operators from x to y: which channels of a are shown; x has two rows.
SHOWN = {
    "Relu(a)": [True, False, True],
    "Clip(a, zero, two)": [True, False, False],
    "Add(a, two)": [True, True, True],
    "Sigmoid(a)": [True, True, True],
    "Mul(a, mask)": [True, True, False],
    "Softmax(a)": [True, True, True],
    "Relu(a) z = Neg(y)": [True, False, True],
}


def graph(folder: Path, body: str) -> OnnxGraph:
    last = "z" if "z = " in body else "y"
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> '
        f"f (float[N, 3] x) => (float[N, 3] {last}) "
        "<float zero = {0.0}, float two = {2.0}, float one = {1.0}, "
        "float[3] mask = {1.0, 1.0, 0.0}> "
        f"{{ a = Mul(x, one) y = {body} }}"
    )
    onnx.save(model, str(folder / "m.onnx"))
    return graph_of(folder / "m.onnx", [("x", X)], folder)


@pytest.mark.parametrize("body", SHOWN)
def test_a_channel_is_hidden_where_an_operator_makes_it_constant(body: str, tmp_path: Path) -> None:
    shown = ShownChannels(graph(tmp_path, body), ()).of("a", 1)
    assert shown is not None
    assert shown.tolist() == SHOWN[body]


def test_a_value_that_is_compared_itself_needs_nothing_to_show_it(tmp_path: Path) -> None:
    assert ShownChannels(graph(tmp_path, "Relu(a)"), ("a",)).of("a", 1) is None
