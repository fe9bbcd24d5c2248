"""Faults of graded size to plant in ONNX files: one place of a file computes something else."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.faults import FAULTS, attribute, set_attribute

SIZES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization")
_SLOPED = ("LeakyRelu", "Elu", "HardSigmoid", "Celu", "Selu", "ThresholdedRelu")

#: Breaks a node in place by a size, with random choices; false where there is nothing to break.
Plant = Callable[[onnx.ModelProto, onnx.NodeProto, float, Random], bool]


@dataclass(frozen=True)
class GradedFault:
    """A way to break one node.

    Attributes:
        name: what is wrong.
        plant: breaks the node.
        sizes: how large it may be; only None where it has no size.
    """

    name: str
    plant: Plant
    sizes: tuple[float | None, ...] = SIZES


def planted(
    model: onnx.ModelProto, count: int, draw: Random
) -> Iterator[tuple[str, float | None, str, onnx.ModelProto]]:
    """Yield files with one fault each: the fault, its size, the node, and the file."""
    made = tries = 0
    while made < count and tries < 50 * count:
        tries += 1
        fault = draw.choice(GRADED)
        broken = onnx.ModelProto()
        broken.CopyFrom(model)
        node, size = draw.choice(broken.graph.node), draw.choice(fault.sizes)
        label = node.name or node.output[0]
        if fault.plant(broken, node, size or 0.0, draw):
            made += 1
            yield fault.name, size, f"{label} ({node.op_type})", broken


def _constant(change: Callable[[np.ndarray, float, Random], np.ndarray], place: int) -> Plant:
    """Return a fault that changes the constant which a node reads at a place."""

    def plant(model: onnx.ModelProto, node: onnx.NodeProto, size: float, draw: Random) -> bool:
        if node.op_type not in _WEIGHTED or len(node.input) <= place:
            return False
        for tensor in model.graph.initializer:
            if tensor.name == node.input[place]:
                array = numpy_helper.to_array(tensor)
                changed = change(array.copy(), size, draw)
                if array.dtype.kind != "f" or np.array_equal(array, changed):
                    return False
                name = f"{tensor.name}_of_{node.output[0]}"  # others may read the same
                new = numpy_helper.from_array(changed.astype(array.dtype), name)
                model.graph.initializer.append(new)
                node.input[place] = name
                return True
        return False

    return plant


def _one_channel(array: np.ndarray, size: float, draw: Random) -> np.ndarray:
    array[draw.randrange(len(array))] *= 1 + size
    return array


def _shifted(array: np.ndarray, size: float, draw: Random) -> np.ndarray:
    scale = float(np.sqrt(np.square(array.astype(np.float64)).mean())) or 1.0
    array.flat[draw.randrange(array.size)] += size * scale
    return array


def _swapped(array: np.ndarray, size: float, draw: Random) -> np.ndarray:
    if len(array) > 1:
        first, second = draw.sample(range(len(array)), 2)
        array[[first, second]] = array[[second, first]]
    return array


def _eps(model: onnx.ModelProto, node: onnx.NodeProto, size: float, draw: Random) -> bool:
    kinds = ("BatchNormalization", "LayerNormalization", "InstanceNormalization")
    if node.op_type not in kinds:
        return False
    return set_attribute(node, "epsilon", attribute(node, "epsilon", 1e-5) + size)


def _slope(model: onnx.ModelProto, node: onnx.NodeProto, size: float, draw: Random) -> bool:
    if node.op_type not in _SLOPED:
        return False
    return set_attribute(node, "alpha", attribute(node, "alpha", 1.0) * (1 + size))


def _clip(model: onnx.ModelProto, node: onnx.NodeProto, size: float, draw: Random) -> bool:
    """Clip every value a little below its usual largest, or move a bound."""
    if node.op_type == "Clip" and len(node.input) > 2 and node.input[2]:
        return _inserted(model, node, "Min", float(attribute(node, "max", 6.0)) * (1 - size))
    return False


def _slice(model: onnx.ModelProto, node: onnx.NodeProto, size: float, draw: Random) -> bool:
    """Begin one later and end one later, or earlier."""
    if node.op_type != "Slice":
        return False
    changed = False
    for place in (1, 2):
        for tensor in list(model.graph.initializer):
            if tensor.name == node.input[place]:
                array = numpy_helper.to_array(tensor).copy()
                step = 1 if place == 1 and array.flat[0] == 0 else -1
                if abs(int(array.flat[0])) > 10**6:
                    continue
                name = f"{tensor.name}_{place}_of_{node.output[0]}"
                model.graph.initializer.append(numpy_helper.from_array(array + step, name))
                node.input[place], changed = name, True
                break
    return changed


def _inserted(model: onnx.ModelProto, node: onnx.NodeProto, kind: str, value: float) -> bool:
    """Put an operator with a constant after a node's first output."""
    old = node.output[0]
    inner = f"{old}_before"
    node.output[0] = inner
    constant = f"{old}_constant"
    array = np.asarray(value, dtype=np.float32)
    model.graph.initializer.append(numpy_helper.from_array(array, constant))
    place = list(model.graph.node).index(node)
    model.graph.node.insert(place + 1, helper.make_node(kind, [inner, constant], [old]))
    return True


def _expression(build: Callable[[str, str, float], list[onnx.NodeProto]]) -> Plant:
    """Return a fault that computes something more after a convolution or linear layer."""

    def plant(model: onnx.ModelProto, node: onnx.NodeProto, size: float, draw: Random) -> bool:
        if node.op_type not in ("Conv", "Gemm", "ConvTranspose", "MatMul"):
            return False
        old = node.output[0]
        node.output[0] = f"{old}_before"
        place = list(model.graph.node).index(node)
        for new in reversed(build(node.output[0], old, size)):
            model.graph.node.insert(place + 1, new)
        return True

    return plant


def _number(name: str, value: float) -> onnx.NodeProto:
    tensor = numpy_helper.from_array(np.asarray(value, dtype=np.float32))
    return helper.make_node("Constant", [], [name], value=tensor)


def _if_negative(x: str, y: str, size: float) -> list[onnx.NodeProto]:
    return [
        _number(f"{y}_zero", 0.0),
        _number(f"{y}_size", size),
        helper.make_node("Min", [x, f"{y}_zero"], [f"{y}_part"]),
        helper.make_node("Mul", [f"{y}_part", f"{y}_size"], [f"{y}_more"]),
        helper.make_node("Add", [x, f"{y}_more"], [y]),
    ]


def _if_large(x: str, y: str, size: float) -> list[onnx.NodeProto]:
    return [
        _number(f"{y}_bound", 1.0),
        _number(f"{y}_size", size),
        helper.make_node("Sub", [x, f"{y}_bound"], [f"{y}_above"]),
        helper.make_node("Relu", [f"{y}_above"], [f"{y}_part"]),
        helper.make_node("Mul", [f"{y}_part", f"{y}_size"], [f"{y}_more"]),
        helper.make_node("Add", [x, f"{y}_more"], [y]),
    ]


def _if_many(x: str, y: str, size: float) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Shape", [x], [f"{y}_rows"], start=0, end=1),
        helper.make_node("Cast", [f"{y}_rows"], [f"{y}_count"], to=onnx.TensorProto.FLOAT),
        _number(f"{y}_bound", 2.5),
        _number(f"{y}_right", 1.0),
        _number(f"{y}_wrong", 1.0 + size),
        helper.make_node("Greater", [f"{y}_count", f"{y}_bound"], [f"{y}_many"]),
        helper.make_node("Where", [f"{y}_many", f"{y}_wrong", f"{y}_right"], [f"{y}_factor"]),
        helper.make_node("Mul", [x, f"{y}_factor"], [y]),
    ]


def _by_name(name: str) -> Plant:
    """Return a fault without a size from the ones that the tests plant."""
    (fault,) = (fault for fault in FAULTS if fault.name == name)

    def plant(model: onnx.ModelProto, node: onnx.NodeProto, size: float, draw: Random) -> bool:
        return node.op_type in fault.kinds and fault.plant(model, node)

    return plant


_WHOLE: tuple[float | None, ...] = (None,)
GRADED = (
    GradedFault("weight", _constant(lambda a, s, _: a * (1 + s), 1)),
    GradedFault("weight of a channel", _constant(_one_channel, 1)),
    GradedFault("bias", _constant(_shifted, 2)),
    GradedFault("eps", _eps),
    GradedFault("slope", _slope),
    GradedFault("clip bound", _clip),
    GradedFault("negative values", _expression(_if_negative)),
    GradedFault("large values", _expression(_if_large)),
    GradedFault("above a batch size", _expression(_if_many)),
    GradedFault("channels swapped", _constant(_swapped, 1), _WHOLE),
    GradedFault("bias dropped", _constant(lambda a, s, _: a * 0, 2), _WHOLE),
    GradedFault(
        "cast to float16", _constant(lambda a, s, _: a.astype(np.float16).astype(a.dtype), 1),
        _WHOLE,
    ),
    GradedFault("slice off by one", _slice, _WHOLE),
    *(GradedFault(n, _by_name(n), _WHOLE) for n in ("axis", "perm", "pads", "stride", "dilation")),
)  # fmt: skip
