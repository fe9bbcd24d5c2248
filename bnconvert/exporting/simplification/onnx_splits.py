"""Splits in the form that every opset from 13 on has: with the sizes of the parts."""

from typing import Any

import numpy as np

from bnconvert.exporting.simplification.onnx_constants import constant


def give_sizes(model: Any) -> None:
    """Give each Split that says how many parts it makes their sizes instead, if these are known.

    Args:
        model: of onnx_ir, in memory; is changed in place.
    """
    for node in model.graph.all_nodes():
        if node.op_type == "Split" and "num_outputs" in node.attributes:
            axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
            shapes = [out.shape for out in node.outputs]
            sizes = [None if shape is None else shape[axis] for shape in shapes]
            if all(isinstance(size, int) for size in sizes):
                del node.attributes["num_outputs"]
                node.resize_inputs(2)
                name = f"{node.outputs[0].name}_sizes"
                node.replace_input_with(1, constant(node.graph, name, np.array(sizes)))
