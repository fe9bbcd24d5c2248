"""A constant of a name is there once."""

import numpy as np
import onnx_ir

from bnconvert.exporting.simplification.onnx_constants import constant


def test_it_is_made_once_and_then_found() -> None:
    graph = onnx_ir.Graph([], [], nodes=[], initializers=[])
    numbers = np.array([2, 3])
    made: onnx_ir.Value = constant(graph, "sizes", numbers)
    assert graph.initializers["sizes"] is made
    assert made.const_value is not None
    assert (made.name, made.const_value.name) == ("sizes", "sizes")
    assert (made.const_value.numpy() == numbers).all()
    assert constant(graph, "sizes", np.array([7])) is made
    assert constant(graph, "other", np.array([7])) is not made
    assert [*graph.initializers] == ["sizes", "other"]
