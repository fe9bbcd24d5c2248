"""A file with fewer operators, by onnxslim.

onnxslim copies the whole model at each of its many steps. The numbers of large weights, which no
step needs, are withheld from it: a layer's weight is then as external data is, a name of them.
"""

import contextlib
from collections import defaultdict
from pathlib import Path
from typing import Any

from bnconvert.exporting.onnx_nodes import nodes_of
from bnconvert.exporting.onnx_weights import weights_beside
from bnconvert.torch_private.silence import quiet
from bnconvert.verification.onnx_outline import outline_of

#: Operators that compute shapes, or move numbers without changing them.
_MOVERS = ("Cast", "Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Shape",
           "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze")  # fmt: skip
#: Operators that another one may absorb, or that do nothing where a constant is 0 or 1.
_ABSORBED = "BatchNormalization", "Dropout", "Identity", "Pad"
_ARITHMETIC = "Add", "Div", "Mul", "Sub"
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_LARGE = 2**14  # bytes; onnxslim compares the numbers of smaller weights
_PLACE = "location"


def simplified(path: Path) -> Path | None:
    """Write a file with fewer operators.

    Returns:
        The new file, in a folder of its own. None where the weights are in a separate file, where
        there is nothing to gain, and where onnxslim fails.
    """
    import onnx

    if weights_beside(path).exists() or not _may_shrink(outline_of(path).model.graph):
        return None
    model = onnx.load(str(path))
    count, target = len(model.graph.node), path.parent / "simplified" / path.name
    try:
        slim = _slim(model, path)
        if len(slim.graph.node) >= count:
            return None
        target.parent.mkdir()
        onnx.save(slim, str(target))
        onnx.checker.check_model(str(target), full_check=True)
    except Exception:
        return None
    return target


def _may_shrink(graph: Any) -> bool:
    """Tell whether a simplifier may find something: it takes its time with plain networks too."""
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    movers, seen = 0, set[bytes]()
    for node in graph.node:
        movers += node.op_type in _MOVERS
        if node.op_type in _ARITHMETIC and not constants.isdisjoint(node.input):
            return True
        if movers > 1 or node.op_type in _ABSORBED:
            return True
        bare = type(node)(op_type=node.op_type, input=node.input, attribute=node.attribute)
        if (same := bare.SerializeToString()) in seen:
            return True
        seen.add(same)
    return False


def _slim(model: Any, path: Path) -> Any:
    """Return a simplified model: without the numbers of weights if that can be, else with them.

    Args:
        model: what the file holds; it may lose the numbers of its weights.
        path: the file.
    """
    import onnx
    import onnxslim

    withheld = _withhold(model)
    with contextlib.suppress(Exception), quiet():
        slim = onnxslim.slim(model)
        _put_back(slim, withheld)
        return slim
    with quiet():
        return onnxslim.slim(onnx.load(str(path)))


def _withhold(model: Any) -> dict[str, bytes]:
    """Take the numbers out of the large weights of layers; return them by the name left there."""
    import onnx

    readers = defaultdict(list)
    constants = {tensor.name for tensor in model.graph.initializer}
    for output in model.graph.output:
        readers[output.name].append(False)
    for node in nodes_of(model.graph):
        for place, name in enumerate(node.input):
            is_weight = place == 1 and node.op_type in _LAYERS and node.input[0] not in constants
            readers[name].append(is_weight)
    taken: dict[str, bytes] = {}
    for tensor in model.graph.initializer:
        read = readers[tensor.name]
        if len(tensor.raw_data) >= _LARGE and read and all(read):
            name = str(len(taken))
            taken[name] = tensor.raw_data
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key=_PLACE, value=name)
    return taken


def _put_back(model: Any, withheld: dict[str, bytes]) -> None:
    """Give the weights their numbers again.

    Raises:
        KeyError: a weight is not one of those that were withheld.
    """
    import onnx

    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            (name,) = (entry.value for entry in tensor.external_data if entry.key == _PLACE)
            tensor.raw_data = withheld[name]
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
