"""What is left in a graph: norms, arithmetic, convolutions; in a file, or in OpenVINO's own."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Graph:
    """The nodes of a graph, counted.

    Attributes:
        norms: BatchNormalization, wherever they stand.
        arithmetic: Mul, Add, Sub and Div.
        convolutions: of any kind.
        attention: products of two computed values; 0 in OpenVINO's graph.
        nodes: all but constants.
        size: bytes of the file, the weights included; 0 where there is none.
    """

    norms: int
    arithmetic: int
    convolutions: int
    attention: int
    nodes: int
    size: int


def read(path: Path) -> Graph:
    """Count the nodes of an ONNX file, those of subgraphs and functions included."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    counts: Counter[str] = Counter()

    def walk(nodes: Any) -> None:
        for node in nodes:
            counts[node.op_type] += node.op_type != "Constant"
            for attribute in node.attribute:
                walk(attribute.g.node)

    walk(model.graph.node)
    for function in model.functions:
        walk(function.node)
    beside = path.with_name(path.name + ".data")
    return Graph(
        norms=counts["BatchNormalization"],
        arithmetic=sum(counts[kind] for kind in ("Mul", "Add", "Sub", "Div")),
        convolutions=counts["Conv"] + counts["ConvTranspose"],
        attention=_products(model.graph) + counts["Attention"],
        nodes=counts.total(),
        size=sum(os.path.getsize(file) for file in (path, beside) if file.exists()),
    )


def _products(graph: Any) -> int:
    """Count the matrix products of which no factor is made of constants alone."""
    constants = {value.name for value in graph.initializer}
    found = 0
    for node in graph.node:
        if constants.issuperset(node.input):
            constants.update(node.output)
        elif node.op_type == "MatMul":
            found += constants.isdisjoint(node.input)
    return found


def read_openvino(compiled: Any, path: Path) -> Graph:
    """Count the operations that OpenVINO runs.

    A norm is left where an operation that is no convolution or matrix product says that it came
    from one: it may share its loop over the values with others.
    """
    import onnx

    nodes = onnx.load(str(path), load_external_data=False).graph.node
    norms = {node.name for node in nodes if node.op_type == "BatchNormalization"}
    counts: Counter[str] = Counter()
    left: set[str] = set()
    for operation in compiled.get_runtime_model().get_ops():
        kind, origin = (_said(operation, key) for key in ("layerType", "originalLayersNames"))
        counts[kind] += kind not in ("Const", "Input", "Output")
        if kind not in ("Convolution", "Deconvolution", "FullyConnected", "MatMul"):
            left |= norms & set(origin.split(","))
    return Graph(
        norms=len(left),
        arithmetic=sum(counts[kind] for kind in ("Eltwise", "Subgraph")),
        convolutions=counts["Convolution"] + counts["Deconvolution"],
        attention=0,
        nodes=counts.total(),
        size=0,
    )


def _said(operation: Any, key: str) -> str:
    told = operation.get_rt_info()[key]
    return str(getattr(told, "value", told))
