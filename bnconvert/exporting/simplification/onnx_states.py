"""Initial states of recurrent layers that are zeros, which ONNX takes where none are given."""

from typing import Any

import numpy as np

from bnconvert.exporting.simplification.onnx_unused import remove_unused

#: By recurrent operator, the places of its inputs that are initial states.
_STATES = {"RNN": (5,), "GRU": (5,), "LSTM": (5, 6)}
#: Operators whose result is zeros where their first input is.
_MOVERS = ("Cast", "Expand", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Tile",
           "Transpose", "Unsqueeze")  # fmt: skip


def drop_zero_states(model: Any) -> None:
    """Leave out initial states that are zeros, and what made them as large as the batch.

    Args:
        model: of onnx_ir, in memory; is changed in place.
    """
    for node in list(model.graph):
        for place in _STATES.get(node.op_type, ()):
            state = node.inputs[place] if place < len(node.inputs) else None
            if state is not None and _is_zero(state):
                node.replace_input_with(place, None)
                remove_unused(model.graph, state)


def _is_zero(value: Any) -> bool:
    """Tell whether a value is zeros, whatever its size."""
    node = value.producer()
    if node is None:
        held = value.const_value
        return held is not None and not value.is_graph_input() and not np.any(held.numpy())
    if node.op_type == "ConstantOfShape":
        filled = node.attributes.get("value")
        return filled is None or not np.any(filled.value.numpy())
    if node.op_type == "Constant":
        filled = node.attributes.get("value")
        return filled is not None and not np.any(filled.value.numpy())
    return node.op_type in _MOVERS and _is_zero(node.inputs[0])
