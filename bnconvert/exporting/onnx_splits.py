"""Split is written as Slice where an older opset is asked for: ONNX's converter knows no way down.

Since opset 18 Split may say into how many parts it divides; otherwise it is what it was.
"""

from itertools import accumulate, pairwise
from typing import Any

from bnconvert.exporting.onnx_unused import remove_unused

_PARTS = 18  # the opset from which Split has another form


def write_splits_as_slices(model: Any) -> None:
    """Write each Split whose parts have known sizes as a Slice for each of them.

    Args:
        model: of onnx_ir, in memory, of opset 18 or a later one; is changed in place.
    """
    for node in list(model.graph):
        if node.op_type == "Split" and not node.domain:
            sizes = _sizes(node)
            if sizes is not None:
                _slice(model.graph, node, sizes)


def _sizes(node: Any) -> list[int] | None:
    """Return how large the parts are along the axis; None where that is not known."""
    import onnx_ir

    given = node.inputs[1] if len(node.inputs) > 1 else None
    if given is not None:
        held = onnx_ir.convenience.get_const_tensor(given)
        return None if held is None else [int(size) for size in held.numpy()]
    shapes = [out.shape for out in node.outputs]
    sizes = [None if shape is None else shape[_axis(node)] for shape in shapes]
    known = [size for size in sizes if isinstance(size, int)]
    return known if len(known) == len(sizes) else None


def _axis(node: Any) -> int:
    axis = node.attributes.get("axis")
    return axis.as_int() if axis is not None else 0


def _slice(graph: Any, node: Any, sizes: list[int]) -> None:
    """Put slices in the place of a Split; their values keep its names."""
    import onnx_ir

    ends, given = pairwise(accumulate(sizes, initial=0)), node.inputs[1:]
    for value, (start, end) in zip(list(node.outputs), ends, strict=True):
        numbers = {"start": start, "end": end, "axis": _axis(node)}
        constants = [_constant(graph, f"{value.name}_{n}", i) for n, i in numbers.items()]
        part = onnx_ir.node("Slice", [node.inputs[0], *constants], name=f"{value.name}_slice")
        graph.insert_before(node, part)
        (made,) = part.outputs
        onnx_ir.convenience.replace_all_uses_with(value, made, replace_graph_outputs=True)
        made.type, made.shape, name = value.type, value.shape, value.name
        value.name = f"{name}_split"
        made.name = name
    graph.remove(node, safe=True)
    for value in given:
        remove_unused(graph, value)


def _constant(graph: Any, name: str, number: int) -> Any:
    """Return a constant of a graph that holds one number."""
    import onnx_ir

    held = onnx_ir.tensor([number], onnx_ir.DataType.INT64, name)
    value = onnx_ir.Value(name=name, const_value=held)
    value.type, value.shape = onnx_ir.TensorType(held.dtype), onnx_ir.Shape([1])
    graph.register_initializer(value)
    return value


def precedes_splits(opset: int | None) -> bool:
    """Tell whether an opset has Split in the form that no converter knows a way to."""
    return opset is not None and opset < _PARTS
