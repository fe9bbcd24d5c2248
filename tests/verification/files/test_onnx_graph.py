from pathlib import Path

import torch

import bnconvert as bnc
from bnconvert.verification.files.onnx_graph import graph_of
from tests.zoo import build


def test_every_value_of_a_file_is_computed_once(tmp_path: Path) -> None:
    model, inputs = build("residual")
    bnc.export(model, inputs, tmp_path / "m.onnx")
    graph = graph_of(tmp_path / "m.onnx", [(None, inputs[0])], tmp_path)
    assert [operator.kind for operator in graph.operators].count("Conv") == 2
    assert set(graph.values) >= {o.outputs[0] for o in graph.operators}
    assert not graph.broken
    torch.testing.assert_close(graph.values[graph.outputs[0]], model(*inputs), rtol=1e-4, atol=1e-5)


def test_consumers_are_told_by_value(tmp_path: Path) -> None:
    model, inputs = build("plain")
    bnc.export(model, inputs, tmp_path / "m.onnx")
    graph = graph_of(tmp_path / "m.onnx", [(None, inputs[0])], tmp_path)
    first, second = graph.operators[:2]
    assert graph.consumers()[first.outputs[0]] == [second]
