"""Constants of a file that is in memory."""

from typing import Any


def constant(graph: Any, name: str, numbers: Any) -> Any:
    """Return the constant of this name, which gets the numbers if there is none yet.

    Args:
        graph: of onnx_ir; is changed in place.
        name: of the constant.
        numbers: an array.
    """
    import onnx_ir

    held = onnx_ir.Value(name=name, const_value=onnx_ir.tensor(numbers, name=name))
    return graph.initializers.setdefault(name, held)
