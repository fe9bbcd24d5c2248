"""Means over an image are written as pooling, which ONNX Runtime computes on blocks of channels.

It leaves the blocks for a mean, as for most operators, and comes back for the convolution behind
it. But it adds up the pixels of a pool one by one, which costs digits where they are many.
"""

from typing import Any

from bnconvert.exporting.simplification.onnx_unused import remove_unused

_IMAGE = 4  # axes
#: Pixels; the sum of as many is about as far off as a convolution's.
_MOST = 64 * 64


def write_means_as_pooling(model: Any) -> None:
    """Write the means of small images, whose axes stay, as pooling.

    Args:
        model: of onnx_ir, in memory; is changed in place.
    """
    for node in list(model.graph):
        if node.op_type == "ReduceMean" and _is_pooling(node):
            axes = node.inputs[1:]
            node.op_type = "GlobalAveragePool"
            node.resize_inputs(1)
            node.attributes.clear()
            for value in axes:
                remove_unused(model.graph, value)


def _is_pooling(node: Any) -> bool:
    """Tell whether a mean is over both axes of an image, of a size that is known and small."""
    import onnx_ir

    image, keeps = node.inputs[0], node.attributes.get("keepdims")
    if image.dtype not in (onnx_ir.DataType.FLOAT, onnx_ir.DataType.FLOAT16):
        return False
    if image.shape is None or len(image.shape) != _IMAGE or (keeps and not keeps.as_int()):
        return False
    height, width = image.shape[2:]
    if not (isinstance(height, int) and isinstance(width, int) and height * width <= _MOST):
        return False
    return sorted(axis % _IMAGE for axis in _axes(node)) == [2, 3]


def _axes(node: Any) -> list[int]:
    """Return the axes of a mean; none where they are all of them, or not known."""
    import onnx_ir

    if "axes" in node.attributes:
        return [*node.attributes["axes"].as_ints()]  # before opset 18
    given = node.inputs[1] if len(node.inputs) > 1 else None
    held = None if given is None else onnx_ir.convenience.get_const_tensor(given)
    return [] if held is None else [int(axis) for axis in held.numpy().reshape(-1)]
