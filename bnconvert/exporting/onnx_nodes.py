"""The nodes of an ONNX file, those inside branches, loops and functions included."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def count_operators(path: str | Path, operator: str) -> int:
    """Count the nodes of one operator type, subgraphs and functions included."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)

    graphs = (model.graph, *model.functions)
    return sum(node.op_type == operator for graph in graphs for node in nodes_of(graph))


def nodes_of(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph or a function, and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes_of(attribute.g)
