"""Splits in the form that every opset from 13 on has: with the sizes of the parts."""

from typing import Any


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
                node.replace_input_with(1, _constant(node, sizes))


def _constant(node: Any, sizes: list[Any]) -> Any:
    """Return a constant of a node's graph that holds these sizes."""
    import onnx_ir

    held = onnx_ir.tensor(sizes, onnx_ir.DataType.INT64, f"{node.outputs[0].name}_sizes")
    value = onnx_ir.Value(name=held.name, const_value=held)
    value.type, value.shape = onnx_ir.TensorType(held.dtype), onnx_ir.Shape([len(sizes)])
    node.graph.register_initializer(value)
    return value
