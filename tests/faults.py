"""Faults to plant in ONNX files: one operator of a file computes something else."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

_AXIS = {"Concat": 1, "Softmax": -1, "LogSoftmax": -1, "Flatten": 1, "Gather": 0, "Split": 0}


@dataclass(frozen=True)
class Fault:
    """A way to break one node of a kind.

    Attributes:
        name: what is wrong.
        kinds: the operator types that it applies to.
        plant: breaks the node in place; false where it has nothing to break.
    """

    name: str
    kinds: tuple[str, ...]
    plant: Callable[[onnx.ModelProto, onnx.NodeProto], bool]


def broken_files(path: Path, target: Path) -> Iterator[tuple[Fault, onnx.NodeProto]]:
    """Write every fault of every node into a file of its own at `target`, one after the other."""
    for place in range(len(onnx.load(path).graph.node)):
        for fault in FAULTS:
            model = onnx.load(path)
            node = model.graph.node[place]
            if node.op_type in fault.kinds and fault.plant(model, node):
                onnx.save(model, target)
                yield fault, node


def plant(path: Path, target: Path, node: str, fault: str) -> None:
    """Write a copy of a file with one fault in the node that makes the value `node`."""
    model = onnx.load(path)
    (found,) = (n for n in model.graph.node if node in (n.name, *n.output))
    (how,) = (f for f in FAULTS if f.name == fault)
    assert found.op_type in how.kinds
    assert how.plant(model, found)
    onnx.save(model, target)


def _changed(place: int, change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., bool]:
    """Return a fault that changes the constant which a node reads at a place."""

    def broken(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
        if len(node.input) <= place:
            return False
        for tensor in model.graph.initializer:
            if tensor.name == node.input[place]:
                array = numpy_helper.to_array(tensor)
                if not array.size or array.dtype.kind != "f":
                    return False
                name = f"{tensor.name}_of_{node.output[0]}"  # others may read the same
                new = numpy_helper.from_array(change(array).astype(array.dtype), name)
                model.graph.initializer.append(new)
                node.input[place] = name
                return True
        return False

    return broken


def _scaled(array: np.ndarray) -> np.ndarray:
    return array * (1 + 1e-3)


def _with_nan(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flat[array.size // 2] = np.nan
    return array


def _shifted(array: np.ndarray) -> np.ndarray:
    return array + 1e-2


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Return a node's attribute."""
    return next(
        (onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default
    )


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> bool:
    """Set a node's attribute; always true."""
    for index, found in enumerate(node.attribute):
        if found.name == name:
            del node.attribute[index]
            break
    node.attribute.append(onnx.helper.make_attribute(name, value))
    return True


def _eps(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    return set_attribute(node, "epsilon", 1e-3)


def _axis(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    axis = attribute(node, "axis", _AXIS[node.op_type])
    return set_attribute(node, "axis", axis - 1 if axis > 1 or axis < 0 else axis + 1)


def _perm(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    perm = list(attribute(node, "perm", []))
    return len(perm) > 1 and set_attribute(node, "perm", [*perm[:-2], perm[-1], perm[-2]])


def _pads(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    pads = list(attribute(node, "pads", []))
    half = len(pads) // 2
    if not any(pads):
        return False
    moved = [p - 1 for p in pads[:half]] + [p + 1 for p in pads[half:]]
    return set_attribute(node, "pads", moved)


def _stride(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    """Halve the resolution where it is the last thing that happens to it."""
    strides = list(attribute(node, "strides", [1, 1]))
    return set_attribute(node, "strides", [s + 1 for s in strides])


def _dilation(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    kernel, pads = attribute(node, "kernel_shape", []), attribute(node, "pads", [])
    if not pads or min(kernel) < 3 or list(attribute(node, "dilations", [1])) != [1] * len(kernel):
        return False
    set_attribute(node, "pads", [p + k // 2 for p, k in zip(pads, [*kernel, *kernel], strict=True)])
    return set_attribute(node, "dilations", [2] * len(kernel))


def _slope(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    return set_attribute(node, "alpha", attribute(node, "alpha", 1.0) * 1.001)


def _tanh(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    return set_attribute(node, "approximate", "tanh")


def _other_kind(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    node.op_type = {"Relu": "Sigmoid", "Sigmoid": "HardSigmoid", "Add": "Sub", "Mul": "Add"}[
        node.op_type
    ]
    return True


_CONVS = ("Conv", "ConvTranspose")
FAULTS = (
    Fault("weight", (*_CONVS, "Gemm", "MatMul", "BatchNormalization"), _changed(1, _scaled)),
    Fault("NaN", (*_CONVS, "Gemm", "MatMul", "BatchNormalization"), _changed(1, _with_nan)),
    Fault("bias", (*_CONVS, "Gemm", "BatchNormalization", "LayerNormalization"),
          _changed(2, _shifted)),
    Fault("mean", ("BatchNormalization",), _changed(3, _shifted)),
    Fault("eps", ("BatchNormalization", "LayerNormalization", "InstanceNormalization"), _eps),
    Fault("axis", tuple(_AXIS), _axis),
    Fault("perm", ("Transpose",), _perm),
    Fault("pads", (*_CONVS, "MaxPool", "AveragePool"), _pads),
    Fault("stride", ("Conv", "MaxPool"), _stride),
    Fault("dilation", ("Conv",), _dilation),
    Fault("slope", ("LeakyRelu", "Elu", "Gemm", "HardSigmoid"), _slope),
    Fault("approximate", ("Gelu",), _tanh),
    Fault("other kind", ("Relu", "Sigmoid", "Add", "Mul"), _other_kind),
)  # fmt: skip
