"""The nodes of an ONNX file, those inside branches, loops and functions included."""

from collections.abc import Iterator
from typing import Any


def nodes_of(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph or a function, and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes_of(attribute.g)
