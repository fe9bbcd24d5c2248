"""Values of a file that nothing reads any more."""

from typing import Any


def remove_unused(graph: Any, value: Any) -> None:
    """Remove what makes a value that nothing reads, and what only that reads.

    Args:
        graph: of onnx_ir, in memory; is changed in place.
        value: one of its values.
    """
    node = value.producer()
    if value.uses() or value.is_graph_output() or value.is_graph_input():
        return
    if node is None:
        graph.initializers.pop(value.name, None)
    elif not any(out.uses() or out.is_graph_output() for out in node.outputs):
        read = [given for given in node.inputs if given is not None]
        graph.remove(node, safe=True)
        for given in dict.fromkeys(read):
            remove_unused(graph, given)
