"""A file with fewer operators, by onnxslim.

onnxslim copies the whole model at each of its many steps. The numbers of large weights, which no
step needs, stay in their file: a layer's weight is then as external data is, a name of them.
Equal constants are made one here, because it compares each with each.
"""

import contextlib
from collections import defaultdict
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from bnconvert.exporting.writing.onnx_size_names import forget_names
from bnconvert.exporting.writing.onnx_weights import weights_beside
from bnconvert.torch_private.silence import quiet
from bnconvert.verification.files.onnx_nodes import nodes_of
from bnconvert.verification.files.onnx_outline import LARGE, OnnxOutline, outline_of, write_outline

#: Operators that compute shapes, or move numbers without changing them.
_MOVERS = ("Cast", "Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Shape",
           "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze")  # fmt: skip
#: Operators that another one may absorb, or that do nothing where a constant is 0 or 1.
_ABSORBED = "BatchNormalization", "Dropout", "Identity", "Pad"
_ARITHMETIC = "Add", "Div", "Mul", "Sub"
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_TIED = 1000  # numbers; of two constants with fewer that are equal, onnxslim keeps one
_PLACE = "location"


def simplified(path: Path) -> Path | None:
    """Write a file with fewer operators.

    Returns:
        The new file, in a folder of its own. None where the weights are in a separate file, where
        there is nothing to gain, and where onnxslim fails.
    """
    import onnx

    if weights_beside(path).exists():
        return None
    outline = outline_of(path, LARGE)
    graph, target = outline.model.graph, path.parent / "simplified" / path.name
    if not _may_shrink(graph):
        return None
    count = len(graph.node)
    try:
        slim, numbers = _slim(outline, path)
        if len(slim.graph.node) >= count:
            return None
        forget_names(slim)
        target.parent.mkdir(exist_ok=True)
        write_outline(slim, numbers, target)
        onnx.checker.check_model(str(target), full_check=True)
    except Exception:
        return None
    return target


def _may_shrink(graph: Any) -> bool:
    """Tell whether a simplifier may find something: it takes its time with plain networks too."""
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    movers = 0
    for node in graph.node:
        movers += node.op_type in _MOVERS
        if node.op_type in _ARITHMETIC and not constants.isdisjoint(node.input):
            return True
        if movers > 1 or node.op_type in _ABSORBED:
            return True
    return _computes_twice(graph)


def _computes_twice(graph: Any) -> bool:
    """Tell whether two operators compute the same."""
    seen = set[bytes]()
    for node in graph.node:
        bare = type(node)(op_type=node.op_type, input=node.input, attribute=node.attribute)
        if (same := bare.SerializeToString()) in seen:
            return True
        seen.add(same)
    return False


def _slim(outline: OnnxOutline, path: Path) -> tuple[Any, dict[str, Any]]:
    """Return a simplified model, and the numbers that it lacks, by the weight's name.

    It lacks none where it cannot be simplified without those of weights.

    Args:
        outline: what the file holds but for large numbers; it may get those that are needed.
        path: the file.
    """
    import onnx

    data = np.memmap(path, np.uint8, "r")
    withheld = _withhold(outline, data)
    with contextlib.suppress(Exception), quiet():
        slim = _with_ties(outline.model)
        return slim, _put_back(slim, withheld)
    with quiet():
        return _with_ties(onnx.load(str(path))), {}


def _with_ties(model: Any) -> Any:
    """Return a simplified model in which no two small constants are equal."""
    import onnxslim

    _tie(model)
    slim = onnxslim.slim(model, skip_optimizations=["weight_tying"])
    while _tie(slim) and _computes_twice(slim.graph):
        slim = onnxslim.slim(slim, skip_optimizations=["weight_tying"])
    return slim


def _tie(model: Any) -> bool:
    """Let nodes read one constant in place of several equal ones; tell whether any were."""
    graph = model.graph
    kept = dict[bytes, str]()
    others = dict[str, str]()
    outside = {value.name for value in (*graph.input, *graph.output)}
    outside |= {out.name for node in nodes_of(graph) for a in node.attribute for out in a.g.output}
    for tensor in graph.initializer:
        if prod(tensor.dims) < _TIED and tensor.name not in outside:
            bare = type(tensor)()
            bare.CopyFrom(tensor)
            bare.ClearField("name")
            first = kept.setdefault(bare.SerializeToString(deterministic=True), tensor.name)
            others |= {} if first == tensor.name else {tensor.name: first}
    for node in nodes_of(graph):
        for place, name in enumerate(node.input):
            if name in others:
                node.input[place] = others[name]
    left = [tensor for tensor in graph.initializer if tensor.name not in others]
    del graph.initializer[:]
    graph.initializer.extend(left)
    return bool(others)


def _withhold(outline: OnnxOutline, data: Any) -> dict[str, Any]:
    """Give a model the large numbers that are no layer's weights; return those of the layers.

    Args:
        outline: the model.
        data: the bytes of its file.

    Returns:
        The numbers, by the name that a weight has in their place, as external data has.
    """
    import onnx

    model = outline.model
    readers = defaultdict(list)
    constants = {tensor.name for tensor in model.graph.initializer}
    for output in model.graph.output:
        readers[output.name].append(False)
    for node in nodes_of(model.graph):
        for place, name in enumerate(node.input):
            is_weight = place == 1 and node.op_type in _LAYERS and node.input[0] not in constants
            readers[name].append(is_weight)
    taken: dict[str, Any] = {}
    for tensor in model.graph.initializer:
        read, lies = readers[tensor.name], outline.numbers.get(tensor.name)
        if lies is None:
            continue
        if read and all(read):
            name = str(len(taken))
            taken[name] = data[lies]
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key=_PLACE, value=name)
        else:
            tensor.raw_data = data[lies].tobytes()
    return taken


def _put_back(model: Any, withheld: dict[str, Any]) -> dict[str, Any]:
    """Let no weight be external; return the numbers that were withheld, by the weight's name.

    Raises:
        KeyError: a weight is not one of those that were withheld.
    """
    import onnx

    numbers: dict[str, Any] = {}
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            (name,) = (entry.value for entry in tensor.external_data if entry.key == _PLACE)
            numbers[tensor.name] = withheld[name]
            tensor.raw_data = b""
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
    return numbers
