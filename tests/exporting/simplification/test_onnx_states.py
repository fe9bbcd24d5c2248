"""Recurrent layers that begin with zeros are given no initial state, and compute the same."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from bnconvert.exporting.simplification.onnx_states import drop_zero_states
from bnconvert.exporting.writing.onnx_file import PLAIN, write_folded
from bnconvert.folding.folding import fold
from bnconvert.verification.files.onnx_runner import OnnxRunner

WORDS = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))


class Reader(nn.Module):
    """Two layers in both directions: their states are parts of one block of zeros."""

    def __init__(self, kind: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.layers = kind(4, 3, 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)[0]
        return y


class Reminded(nn.Module):
    """A layer that begins with a state of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.start = nn.GRU(4, 3, batch_first=True), nn.Parameter(torch.ones(1, 1, 3))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x, self.start.expand(1, x.shape[0], 3).contiguous())[0]
        return y


def written(model: nn.Module, path: Path) -> list[onnx.NodeProto]:
    write_folded(fold(model.eval(), (WORDS,)), path, PLAIN, any_batch=True)
    return list(onnx.load(path).graph.node)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_zeros_are_left_out_with_what_made_them(
    kind: Callable[..., nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = Reader(kind)
    nodes = written(model, tmp_path / "m.onnx")
    layers = [node for node in nodes if node.op_type in ("LSTM", "GRU")]
    assert len(layers) == 2
    assert not any(name for node in layers for name in node.input[5:])
    read = {name for node in nodes for name in node.input}
    assert all(read & {*node.output} for node in nodes[:-1])
    assert not {"Expand", "ConstantOfShape"} & {node.op_type for node in nodes}
    runner = OnnxRunner(tmp_path / "m.onnx")
    for rows in (1, 2):
        actual = runner.run(runner.feed([(None, WORDS[:rows])]))
        torch.testing.assert_close(actual, [model(WORDS[:rows])])


def test_a_state_of_its_own_stays(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Reminded()
    (gru,) = (node for node in written(model, tmp_path / "m.onnx") if node.op_type == "GRU")
    assert gru.input[5]


@pytest.mark.parametrize("filled", [0.0, 1.0])
def test_a_block_is_zeros_by_the_number_that_fills_it(filled: float) -> None:
    value = numpy_helper.from_array(np.array([filled], "float32"))
    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["h"], value=value),
        helper.make_node("Identity", ["h"], ["also"]),
        helper.make_node("GRU", ["x", "w", "r", "", "", "h"], ["y"], hidden_size=3),
    ]
    tensors = {"w": (1, 9, 4), "r": (1, 9, 3)}
    held = [numpy_helper.from_array(np.ones(s, "float32"), n) for n, s in tensors.items()]
    sizes = numpy_helper.from_array(np.array([1, 2, 3]), "sizes")
    infos = [helper.make_tensor_value_info(n, 1, None) for n in ("x", "y", "also")]
    graph = helper.make_graph(nodes, "graph", infos[:1], infos[1:], [*held, sizes])
    model = onnx_ir.from_proto(helper.make_model(graph))
    drop_zero_states(model)
    (gru,) = (node for node in model.graph if node.op_type == "GRU")
    assert (gru.inputs[5] is None) == (filled == 0)
    assert len(model.graph) == 3, "another operator reads the block"
