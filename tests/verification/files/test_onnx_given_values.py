"""Operators read given values, and still compute their own."""

from pathlib import Path

import onnx
import torch

from bnconvert.verification.files.onnx_given_values import given_name, with_given_values
from bnconvert.verification.files.onnx_graph import graph_of
from bnconvert.verification.files.onnx_nodes import nodes_of

X = torch.tensor([[1.0, 2.0]])
BODY = (
    "{ a = Add(x, x) b = Mul(a, a) c = ReduceMax <keepdims = 0> (x) d = Cast <to = 9> (c) "
    "y = If (d) <then_branch = t () => (float[1, 2] e) { e = Neg(b) }, "
    "else_branch = u () => (float[1, 2] f) { f = Identity(b) }> }"
)


def test_each_value_is_computed_from_given_ones(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 18]> f (float[1, 2] x) => (float[1, 2] y) {BODY}'
    )
    path, copy = tmp_path / "m.onnx", tmp_path / "given.onnx"
    onnx.save(model, str(path))
    given = {"a": torch.tensor([[10.0, 20.0]]), "b": torch.tensor([[7.0, 8.0]])}
    with_given_values(path, copy, given)
    fed = [("x", X), *((given_name(name), value) for name, value in given.items())]
    values = graph_of(copy, fed, tmp_path).values
    assert values["a"].tolist() == [[2.0, 4.0]]
    assert values["b"].tolist() == [[100.0, 400.0]]
    assert values["y"].tolist() == [[-7.0, -8.0]]  # also inside a branch
    assert {node.op_type for node in nodes_of(model.graph)} >= {"Neg", "Identity", "If"}
